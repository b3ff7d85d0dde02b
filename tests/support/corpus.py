"""A synthetic corpus: manifest, features and texts as the stages before training write them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ecmf.data.enriched_text import EnrichedText, write_texts
from ecmf.data.manifest import Clip, write_manifest
from ecmf.params import Sources
from ecmf.storage.store import Layout, Rows, no_rows
from ecmf.storage.store_writer import StoreWriter

CLASSES = ("angry", "happy", "sad")
SOURCES = Sources({"frame": (), "face": ("mine",), "audio": ("mine",), "text": ()})


def true_class(clip_id):
    """Return the true class of an unlabelled clip."""
    return CLASSES[int(clip_id.rpartition("_")[2]) % 3]


@dataclass(frozen=True)
class CorpusPaths:
    """The clips and the paths that stages take."""

    manifest: Path
    text: Path
    features: Path
    clips: list[Clip]


def make_corpus(
    folder, *, test_split=True, speakers=10, each=9, wild=1, silent=(), change=lambda clip: clip
):
    """Write a corpus in which each source separates two of three classes.

    Every eighth clip has no face. `wild` is the number of unlabelled clips, of the three classes in
    turn, which only their features show. Clips named in `silent` have no features. `change` alters
    a clip of the manifest after the features are written.
    """
    rng = np.random.default_rng(0)
    clips = []
    for speaker in range(speakers):
        split = "train"
        if test_split and speaker < 4:
            split = "test" if speaker < 2 else "val"
        for number in range(each):
            label = CLASSES[number % 3]
            annotators = {
                "annotator_1": label,
                "annotator_2": CLASSES[(number + (number == 8)) % 3],
            }
            name = f"s{speaker}"
            clips.append(
                Clip(f"{name}_{number}", speaker=name, group=name, split=split, label=label,
                     annotators=annotators if split == "train" else {})
            )  # fmt: skip
    clips += [
        Clip(f"wild_{number}", speaker="w", group="w", split="unlabelled") for number in range(wild)
    ]
    separated = {
        "face": {"angry": 0, "happy": 1, "sad": 1},
        "audio": {"angry": 0, "happy": 0, "sad": 1},
    }
    for modality, side in separated.items():
        layout = Layout((4,))
        with StoreWriter(
            folder / f"features/{modality}/mine.h5", layout, {"encoder": "made"}
        ) as out:
            for i, clip in enumerate(clips):
                if (modality == "face" and i % 8 == 5) or clip.clip_id in silent:
                    out.append(clip.clip_id, no_rows(layout, "empty", "no face found"))
                    continue
                rows = rng.normal(0, 1, (1 + i % 3, 4)).astype("float32")
                rows[:, 0] += 6 * side.get(clip.label or true_class(clip.clip_id), 0)
                out.append(clip.clip_id, Rows(rows, np.arange(len(rows)) / 10))
    clips = [change(clip) for clip in clips]
    write_manifest(clips, folder / "manifest.csv")
    texts = [EnrichedText(clip_id=clip.clip_id, raw="well", enriched="well", polarity=0.0,
                    provider="lexicon", prompt_version="1") for clip in clips]  # fmt: skip
    write_texts(texts, folder / "text.jsonl")
    return CorpusPaths(folder / "manifest.csv", folder / "text.jsonl", folder / "features", clips)
