"""Corpora whose clips were rated by several people, as clips with a label, annotators and a truth.

A case is one way to divide the ratings into a given label and annotators. What chance decides in it
(the order of anonymous raters, ties of a plurality, which raters are held out) is drawn by seed.
"""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from support.corpora import SAMPLE, SHARED, true_labels

from ecmf.data.manifest import Clip, classes_of, read_manifest
from ecmf.refinement.label_sources import one_hot_labels

PRESENTATIONS = {"1": "voice", "2": "face", "3": "both"}
"""What raters of CREMA-D were shown, by the first digit of the number of a row."""

LETTERS = {"A": "ANG", "D": "DIS", "F": "FEA", "H": "HAP", "N": "NEU", "S": "SAD"}
"""Columns of votes, and the intended emotion in the file name: `<actor>_<sentence>_<emotion>_…`."""

LANGUAGES = {"ron": "Romanian", "arq": "Algerian Arabic", "ukr": "Ukrainian"}

MIN_RATED = 0.15
"""Fraction of texts that a rater of BRIGHTER must have rated."""

Votes = NDArray[np.int64]
"""Votes per clip and class."""


@dataclass(frozen=True)
class Ratings:
    """Clips with a label and annotators, and the true class by clip id where it is known."""

    clips: Sequence[Clip]
    truth: Mapping[str, str]


@dataclass(frozen=True)
class Case:
    """A way to divide the ratings of a corpus; `draw` makes it by a seed.

    `equal_raters` means that the given label is one of several ratings of the same kind. `seeds` is
    the number of draws to compare.
    """

    name: str
    classes: Sequence[str]
    draw: Callable[[int], Ratings]
    equal_raters: bool = False
    seeds: int = 3


def cases(folder: Path = SHARED / "data") -> Iterator[Case]:
    """Yield all cases of the corpora that are there: CREMA-D, BRIGHTER, the sample corpus."""
    if (folder / "crema_votes").is_dir():
        yield from crema_cases(folder / "crema_votes")
    for code, language in LANGUAGES.items():
        path = folder / f"brighter/{code}_individuals.csv"
        if path.is_file():
            raters = read_brighter(path)
            name = f"BRIGHTER, {language}: half of the raters, the others are the truth"
            yield Case(name, [*raters.emotions, NEUTRAL], raters.draw, equal_raters=True, seeds=10)
    if SAMPLE.is_file():
        clips = [clip for clip in read_manifest(SAMPLE) if clip.split == "train"]
        ratings = Ratings(clips, true_labels())
        yield Case("sample: noisy label, annotators", classes_of(SAMPLE, clips), lambda _: ratings,
                   seeds=1)  # fmt: skip


# --- CREMA-D ----------------------------------------------------------------------------------


def read_crema(folder: Path) -> dict[str, dict[str, Votes]]:
    """Read the votes (classes,) of each clip in each presentation, by presentation and clip."""
    votes: dict[str, dict[str, Votes]] = {name: {} for name in PRESENTATIONS.values()}
    with (folder / "tabulatedVotes.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            counts = np.array([int(row[letter]) for letter in LETTERS])
            votes[PRESENTATIONS[row[""][0]]][row["fileName"]] = counts
    return votes


def crema_cases(folder: Path) -> Iterator[Case]:
    """Yield a case of one rater per presentation, and of the pluralities of all three."""
    votes = read_crema(folder)
    for name in votes:
        yield Case(f"CREMA-D, {name}: one rater, annotators are the others", list(LETTERS),
                   partial(_anonymous_raters, votes[name]), equal_raters=True)  # fmt: skip
    for name in votes:
        yield Case(f"CREMA-D: plurality of {name}, annotators are those of the other two",
                   list(LETTERS), partial(_pluralities, votes, name))  # fmt: skip


def intended(clip_id: str) -> str:
    """Return the class that an actor of CREMA-D was asked to play."""
    code = clip_id.split("_")[2]
    return next(letter for letter, name in LETTERS.items() if name == code)


def _anonymous_raters(votes: Mapping[str, Votes], seed: int) -> Ratings:
    """Give a clip the vote of one rater as its label; a column of annotators is no one person."""
    rng = np.random.default_rng(seed)
    clips = []
    for clip_id, counts in votes.items():
        first, *others = rng.permutation(np.repeat(list(LETTERS), counts)).tolist()
        annotators = {f"annotator_{i:02d}": vote for i, vote in enumerate(others)}
        clips.append(Clip(clip_id, group=clip_id[:4], label=first, annotators=annotators))
    return Ratings(clips, {clip_id: intended(clip_id) for clip_id in votes})


def _pluralities(votes: Mapping[str, Mapping[str, Votes]], given: str, seed: int) -> Ratings:
    """Give a clip the plurality of one presentation as its label; ties are drawn."""
    rng = np.random.default_rng(seed)
    clips = []
    for clip_id in votes[given]:
        said = {
            f"annotator_{name}": list(LETTERS)[draw_plurality(votes[name][clip_id], rng)]
            for name in votes
        }
        label = said.pop(f"annotator_{given}")
        clips.append(Clip(clip_id, group=clip_id[:4], label=label, annotators=said))
    return Ratings(clips, {clip_id: intended(clip_id) for clip_id in votes[given]})


def draw_plurality(counts: Votes, rng: np.random.Generator) -> int:
    """Return the class with the most votes; one of them by chance if there are several."""
    return int(rng.choice(np.flatnonzero(counts == counts.max())))


# --- BRIGHTER ---------------------------------------------------------------------------------

NEUTRAL = "neutral"


@dataclass(frozen=True)
class BrighterRaters:
    """The strongest emotion of each text by each rater; "" where two are equal, or no rating."""

    emotions: Sequence[str]
    votes: Mapping[str, Mapping[str, str]]

    def draw(self, seed: int) -> Ratings:
        """Divide the raters: one gives the label, some annotate, the rest are the truth.

        The truth of a text is the plurality of the raters held out, unknown where it is a tie.
        """
        rng = np.random.default_rng(seed)
        texts = list(dict.fromkeys(text for votes in self.votes.values() for text in votes))
        often = [name for name, votes in self.votes.items()
                 if sum(map(bool, votes.values())) >= MIN_RATED * len(texts)]  # fmt: skip
        names = rng.permutation(often).tolist()
        count = (len(names) + 1) // 2
        given, annotators, held_out = names[0], names[1:count], names[count:]
        clips = [
            Clip(text, group=text, label=label,
                 annotators={f"annotator_{name}": self.votes[name].get(text, "")
                             for name in annotators})
            for text, label in self.votes[given].items() if label
        ]  # fmt: skip
        return Ratings(clips, {clip.clip_id: self._truth(clip.clip_id, held_out) for clip in clips})

    def _truth(self, text: str, raters: Sequence[str]) -> str:
        classes = [*self.emotions, NEUTRAL]
        said = [self.votes[name].get(text, "") for name in raters]
        counts = one_hot_labels(said, classes).sum(axis=0)
        (best,) = np.nonzero(counts == counts.max())
        return classes[best[0]] if len(best) == 1 else ""


def read_brighter(path: Path) -> BrighterRaters:
    """Read the strongest emotion of each text by each rater, `neutral` if none was felt."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    raters = [name for name in rows[0] if name.lower().startswith("annotator")]
    felt: dict[str, dict[str, dict[str, float]]] = {name: {} for name in raters}
    for row in rows:
        text = row.get("text_id") or row["text"]
        for name in raters:
            if row[name]:
                felt[name].setdefault(text, {})[row["emotion"]] = float(row[name])
    emotions = list(dict.fromkeys(row["emotion"] for row in rows))
    votes = {name: {text: _strongest(levels) for text, levels in felt[name].items()}
             for name in raters}  # fmt: skip
    return BrighterRaters(emotions, votes)


def _strongest(levels: Mapping[str, float]) -> str:
    highest = max(levels.values())
    if not highest:
        return NEUTRAL
    strongest = [name for name, level in levels.items() if level == highest]
    return strongest[0] if len(strongest) == 1 else ""
