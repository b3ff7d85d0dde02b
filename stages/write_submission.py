"""Predictions -> the file that MER2025 asks for: `name,discrete`, a line per candidate.

By hand: `python stages/write_submission.py <manifest> metrics/predictions.csv <out.csv>`, or with
`--check FILE` alone to hold a file against the rules. Candidates are the clips of that split, in
the order of the manifest, in which they were asked for. The file is neither packed nor handed in.
"""

import argparse
import csv
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ecmf.by_hand import say
from ecmf.errors import CorpusError, MissingFileError
from ecmf.files import replacing
from ecmf.manifest import Clip, classes_of, read_manifest
from ecmf.submission import check, written
from ecmf.tables import PREDICTED, SOURCES

COLUMNS = ("clip_id", "split", PREDICTED, SOURCES)

Row = dict[str, str]


def write_submission(manifest: Path, predictions: Path, submission: Path) -> str:
    """Write what is predicted of the candidates, read it back by the rules, say what it holds.

    Raises:
        CorpusError: the corpus has no candidates, one of them has no prediction, or the predictions
            are of another manifest.
        MissingFileError: there is no manifest, or there are no predictions.
    """
    clips = read_manifest(manifest)
    candidates = _candidates(clips, manifest)
    rows = _read_predictions(predictions)
    _refuse_another_manifest(clips, rows, manifest, predictions)
    asked = [row for row in rows if row["split"] == "candidate"]
    if silent := [row["clip_id"] for row in asked if not row[PREDICTED]]:
        raise CorpusError(
            f"{predictions} has no prediction of {len(silent)} candidates, {silent[0]!r} for one: "
            "`dvc repro evaluate_fusion` predicts all of them"
        )
    with replacing(submission) as part:
        part.write_bytes(written([(row["clip_id"], row[PREDICTED]) for row in asked]))
        classes = classes_of(manifest, clips)
        said = check(part.read_bytes(), candidates, classes, str(submission))
    if blind := sum(row[SOURCES] == "0" for row in asked):
        said += f", {blind} of them predicted without any source"
    return f"{submission}: {said}"


def check_submission(manifest: Path, submission: Path) -> str:
    """Hold a file against the rules and say what it holds.

    Raises:
        CorpusError: it breaks a rule; names all it breaks. Or the corpus has no candidates.
        MissingFileError: there is no such file, or no manifest.
    """
    clips = read_manifest(manifest)
    candidates = _candidates(clips, manifest)
    if not submission.is_file():
        raise MissingFileError(
            f"no {submission} to check: `python stages/write_submission.py {manifest} "
            f"metrics/predictions.csv {submission}` writes it"
        )
    classes = classes_of(manifest, clips)
    said = check(submission.read_bytes(), candidates, classes, str(submission))
    return f"{submission}: {said}"


def _candidates(clips: Sequence[Clip], manifest: Path) -> list[str]:
    candidates = [clip.clip_id for clip in clips if clip.split == "candidate"]
    if not candidates:
        counts = Counter(clip.split for clip in clips)
        splits = ", ".join(f"{count} {split}" for split, count in counts.items())
        raise CorpusError(
            f"{manifest} has no clip of the split candidate, but {splits}: only a corpus that asks "
            "for predictions, as mer2025 does, has something to hand in"
        )
    return candidates


def _read_predictions(path: Path) -> list[Row]:
    if not path.is_file():
        raise MissingFileError(f"no predictions {path}: `dvc repro evaluate_fusion` makes them")
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise CorpusError(
                f"{path} has no column {', '.join(missing)}: give the metrics/predictions.csv that "
                "`dvc repro evaluate_fusion` writes"
            )
        return list(reader)


def _refuse_another_manifest(
    clips: Sequence[Clip], rows: Sequence[Row], manifest: Path, predictions: Path
) -> None:
    expected = [(clip.clip_id, clip.split) for clip in clips]
    found = [(row["clip_id"], row["split"]) for row in rows]
    if found == expected:
        return
    pairs = enumerate(zip(found, expected, strict=False), 1)
    differs = (
        f"line {number} has {ours[0]!r} of {ours[1]}, there it is {theirs[0]!r} of {theirs[1]}"
        for number, (ours, theirs) in pairs
        if ours != theirs
    )
    lengths = f"{len(found)} clips, there are {len(expected)}"
    raise CorpusError(
        f"{predictions} is of another manifest than {manifest}: {next(differs, lengths)}. Run "
        f"`dvc repro evaluate_fusion` with corpus {manifest.stem}"
    )


def main() -> int:
    """Read the command line; a mistake the user can mend is one message and exit code 1."""
    parser = argparse.ArgumentParser(description="Write or check the file that MER2025 asks for.")
    parser.add_argument("manifest", type=Path, help="data/manifests/<corpus>.csv")
    parser.add_argument("predictions", type=Path, nargs="?", help="metrics/predictions.csv")
    parser.add_argument("submission", type=Path, nargs="?", help="the file to write")
    parser.add_argument("--check", type=Path, metavar="FILE", help="only check this one")
    given = parser.parse_args()
    if (given.check and given.predictions) or not (given.check or given.submission):
        parser.error("give predictions and the file to write, or --check FILE alone")
    if given.check:
        return say(lambda: check_submission(given.manifest, given.check))
    return say(lambda: write_submission(given.manifest, given.predictions, given.submission))


if __name__ == "__main__":
    sys.exit(main())
