"""Read the synthetic corpus of `make_sample`: a `clips.csv` with the six emotions of MER2025."""

from typing import ClassVar

from ecmf.corpora import folder


class Corpus(folder.Corpus):
    """A folder with a `clips.csv`; the classes are in the order of the official MER2025 code."""

    classes: ClassVar[tuple[str, ...]] = (
        "neutral",
        "angry",
        "happy",
        "sad",
        "worried",
        "surprise",
    )
