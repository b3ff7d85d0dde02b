"""Predictions -> the file that MER2025 asks for: `name,discrete`, a line per candidate.

By hand: `python stages/write_submission.py <manifest> metrics/predictions.csv <out.csv>`, or with
`--check FILE` alone to hold a file against the rules. Candidates are the clips of that split, in
the order of the manifest, in which they were asked for. The file is neither packed nor handed in.
"""

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from ecmf.cli.command import Command
from ecmf.data.manifest import Clip, classes_of, read_manifest
from ecmf.errors import CorpusError, MissingFileError
from ecmf.evaluation import mer2025_submission
from ecmf.evaluation.tables import PREDICTED, SOURCES
from ecmf.storage.files import replacing

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
        answers = [(row["clip_id"], row[PREDICTED]) for row in asked]
        part.write_bytes(mer2025_submission.written(answers))
        classes = classes_of(manifest, clips)
        said = mer2025_submission.check(part.read_bytes(), candidates, classes, str(submission))
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
            f"no {submission} to check: `ecmf submit {manifest} "
            f"metrics/predictions.csv {submission}` writes it"
        )
    classes = classes_of(manifest, clips)
    said = mer2025_submission.check(submission.read_bytes(), candidates, classes, str(submission))
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


@click.command("submit", cls=Command)
@click.argument("manifest", type=click.Path(path_type=Path))
@click.argument("predictions", type=click.Path(path_type=Path), required=False)
@click.argument("submission", type=click.Path(path_type=Path), required=False)
@click.option(
    "--check", type=click.Path(path_type=Path), metavar="FILE", help="Only check this file."
)
def command(
    manifest: Path, predictions: Path | None, submission: Path | None, check: Path | None
) -> str:
    r"""Write the PREDICTIONS of MANIFEST's candidates to SUBMISSION, or check a file.

    \b
    Example:
      ecmf submit data/manifests/mer2025.csv metrics/predictions.csv submission.csv
      ecmf submit data/manifests/mer2025.csv --check submission.csv
    """
    if check is not None and predictions is None:
        return check_submission(manifest, check)
    if check is not None or predictions is None or submission is None:
        raise click.UsageError("give predictions and the file to write, or --check FILE alone")
    return write_submission(manifest, predictions, submission)
