"""A corpus of numbers: manifest, features and texts as the stages before training leave them."""

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


def wild_class(clip_id):
    """What an unlabelled clip is of."""
    return CLASSES[int(clip_id.rpartition("_")[2]) % 3]


@dataclass(frozen=True)
class MadeCorpus:
    """Paths as the stages take them."""

    manifest: Path
    text: Path
    features: Path
    clips: list[Clip]


def make_corpus(
    folder, *, test_split=True, speakers=10, each=9, wild=1, silent=(), change=lambda clip: clip
):
    """Each source tells two of three classes apart; every eighth clip has no face.

    `wild` is how many unlabelled clips there are, of the three classes in turn: what they are of is
    in their features alone. Clips named in `silent` have no source. `change` may alter a clip of
    the manifest after those were made.
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
    told = {"face": {"angry": 0, "happy": 1, "sad": 1}, "audio": {"angry": 0, "happy": 0, "sad": 1}}
    for branch, side in told.items():
        layout = Layout((4,))
        with StoreWriter(folder / f"features/{branch}/mine.h5", layout, {"member": "made"}) as out:
            for i, clip in enumerate(clips):
                if (branch == "face" and i % 8 == 5) or clip.clip_id in silent:
                    out.append(clip.clip_id, no_rows(layout, "empty", "no face found"))
                    continue
                rows = rng.normal(0, 1, (1 + i % 3, 4)).astype("float32")
                rows[:, 0] += 6 * side.get(clip.label or wild_class(clip.clip_id), 0)
                out.append(clip.clip_id, Rows(rows, np.arange(len(rows)) / 10))
    clips = [change(clip) for clip in clips]
    write_manifest(clips, folder / "manifest.csv")
    texts = [EnrichedText(clip_id=clip.clip_id, raw="well", enriched="well", polarity=0.0,
                    provider="lexicon", prompt_version="1") for clip in clips]  # fmt: skip
    write_texts(texts, folder / "text.jsonl")
    return MadeCorpus(folder / "manifest.csv", folder / "text.jsonl", folder / "features", clips)
