"""What people, files, words and language models say of clips; models of ours are in `voting.py`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecmf.data.enriched_text import EnrichedText
from ecmf.data.manifest import Clip
from ecmf.errors import CorpusError
from ecmf.probabilities import normalised
from ecmf.refinement.base import Opinion
from ecmf.registry import hint
from ecmf.storage.csv_rows import is_number, read_rows

CLASS_POLARITY: Mapping[str, float] = {
    "neutral": 0.0,
    "calm": 0.0,
    "surprise": 0.2,
    "surprised": 0.2,
    "happy": 0.7,
    "joy": 0.7,
    "sad": -0.6,
    "sadness": -0.6,
    "angry": -0.6,
    "anger": -0.6,
    "worried": -0.5,
    "fearful": -0.5,
    "fear": -0.5,
    "disgust": -0.5,
}
"""How pleasant a sentence said with each emotion reads, on VADER's scale of -1 to 1. Ours."""

POLARITY_SPREAD = 0.5
"""Standard deviation around it: wide, for words tell little."""

SMALLEST_POLARITY = 0.05
"""VADER's own bound, below which a sentence is neither positive nor negative: no opinion."""


def as_shares(labels: Sequence[str], classes: Sequence[str]) -> NDArray[np.float64]:
    """Labels -> one-hot rows (clips, classes); zeros for an empty label."""
    return np.array([[float(label == name) for name in classes] for label in labels]).reshape(
        len(labels), len(classes)
    )


def of_annotators(clips: Sequence[Clip], classes: Sequence[str]) -> dict[str, Opinion]:
    """One opinion per annotator of the manifest."""
    names = sorted({name for clip in clips for name in clip.annotators})
    return {
        name: Opinion(
            "annotators", as_shares([clip.annotators.get(name, "") for clip in clips], classes)
        )
        for name in names
    }


def of_llm(records: Sequence[EnrichedText], classes: Sequence[str]) -> Opinion:
    """What the provider of `enrich_text` holds of the classes; it never saw a label."""
    shares = [[record.probabilities.get(name, 0.0) for name in classes] for record in records]
    made = {(one.provider, one.model, one.prompt_version) for one in records if one.probabilities}
    provenance = {
        "answered_by": [" ".join(filter(None, one)) for one in sorted(made)],
    }
    rows = np.array(shares, "float64").reshape(len(records), len(classes))
    return Opinion("llm", normalised(rows), provenance)


def of_table(
    path: Path, provenance: Mapping[str, Any], clip_ids: Sequence[str], classes: Sequence[str]
) -> Opinion:
    """What a csv of the user's says, e.g. another model's predictions.

    It has a column `clip_id` and either `label` or one `probability_<class>` per class, as
    `metrics/predictions.csv` has. Clips it does not name get no opinion, clips nobody asks about
    are passed over.

    Raises:
        CorpusError: it is no such table, names a clip twice or a class that is unknown, or a
            probability is no number from 0 to 1; names every fault.
    """
    columns = [f"probability_{name}" for name in classes]

    def header_faults(header: Sequence[str]) -> list[str]:
        faults = [] if "clip_id" in header else ["no column clip_id"]
        lacking = [name for name in columns if name not in header]
        if lacking and ("label" not in header or len(lacking) < len(columns)):
            faults.append(f"no column {', '.join(lacking)}: name all classes so, or give a label")
        return faults

    rows = read_rows(path, header_faults)
    faults = []
    said: dict[str, list[float]] = {}
    for row in rows:
        clip_id = row["clip_id"]
        if clip_id in said:
            faults.append(f"clip {clip_id!r} stands twice")
        if columns[0] in row:
            written = [row[column] or "0" for column in columns]
            if not all(is_number(share) and 0 <= float(share) <= 1 for share in written):
                faults.append(f"clip {clip_id!r}: a probability is no number from 0 to 1")
                continue
            said[clip_id] = [float(share) for share in written]
        else:
            label = row["label"]
            if label and label not in classes:
                faults.append(
                    f"clip {clip_id!r}: unknown label {label!r}, the classes are "
                    f"{', '.join(classes)}.{hint(label, classes)}"
                )
            said[clip_id] = [float(label == name) for name in classes]
    if faults:
        raise CorpusError("\n  ".join([f"{path}: {len(faults)} faults", *faults]))
    nothing = [0.0] * len(classes)
    shares = [said.get(clip_id, nothing) for clip_id in clip_ids]
    return Opinion("tables", normalised(np.array(shares).reshape(-1, len(classes))), provenance)


def of_polarity(polarity: Sequence[float | None], classes: Sequence[str]) -> Opinion:
    """How well the polarity of a clip's words goes with each class; unknown classes get 0."""
    centres = np.array([CLASS_POLARITY.get(name, np.nan) for name in classes])
    shares = np.zeros((len(polarity), len(classes)))
    for row, said in enumerate(polarity):
        if said is None or abs(said) < SMALLEST_POLARITY or np.isnan(centres).all():
            continue
        likely = np.nan_to_num(np.exp(-(((said - centres) / POLARITY_SPREAD) ** 2) / 2))
        shares[row] = likely / likely.sum()
    return Opinion("text_cues", shares)
