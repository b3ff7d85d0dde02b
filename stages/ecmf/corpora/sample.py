"""The corpus `make_sample` makes: the six emotions of MER2025, listed in its own `clips.csv`."""

from typing import ClassVar

from ecmf.corpora import folder


class Corpus(folder.Corpus):
    """A folder with a `clips.csv`, whose classes stand in the order of the MER2025 code."""

    classes: ClassVar[tuple[str, ...]] = (
        "neutral",
        "angry",
        "happy",
        "sad",
        "worried",
        "surprise",
    )
