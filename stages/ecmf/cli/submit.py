"""Write or check a MER2025 submission: `ecmf submit <manifest> metrics/predictions.csv <out.csv>`.

The file has a line `name,discrete` per clip of the split `candidate`, in the order of the manifest.
It is neither compressed nor uploaded.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from ecmf.cli.command import Command
from ecmf.data.manifest import Clip, classes_of, read_manifest
from ecmf.data.prediction_table import PREDICTED, SOURCES, Row, read_predictions
from ecmf.errors import CorpusError, MissingFileError
from ecmf.evaluation import mer2025_submission
from ecmf.storage.files import atomic_write


def write_submission(manifest: Path, predictions: Path, submission: Path) -> str:
    """Write the predictions of the candidates, check the file, and return a summary.

    Raises:
        CorpusError: the corpus has no candidates, a candidate has no prediction, or the predictions
            belong to another manifest.
        MissingFileError: the manifest or the predictions are missing.
    """
    clips = read_manifest(manifest)
    candidates = _candidates(clips, manifest)
    rows = read_predictions(predictions)
    _check_same_manifest(clips, rows, manifest, predictions)
    predicted = [row for row in rows if row["split"] == "candidate"]
    if missing := [row["clip_id"] for row in predicted if not row[PREDICTED]]:
        raise CorpusError(
            f"{predictions} has no prediction for {len(missing)} candidates, e.g. {missing[0]!r}: "
            "`dvc repro evaluate_fusion` predicts all of them"
        )
    with atomic_write(submission) as part:
        answers = [(row["clip_id"], row[PREDICTED]) for row in predicted]
        part.write_bytes(mer2025_submission.to_csv(answers))
        classes = classes_of(manifest, clips)
        summary = mer2025_submission.check(part.read_bytes(), candidates, classes, str(submission))
    if without := sum(row[SOURCES] == "0" for row in predicted):
        summary += f", {without} of them predicted without any source"
    return f"{submission}: {summary}"


def check_submission(manifest: Path, submission: Path) -> str:
    """Check a submission, and return a summary.

    Raises:
        CorpusError: the file breaks a rule (all errors are listed), or there are no candidates.
        MissingFileError: the submission or the manifest is missing.
    """
    clips = read_manifest(manifest)
    candidates = _candidates(clips, manifest)
    if not submission.is_file():
        raise MissingFileError(
            f"no {submission} to check: write it with `ecmf submit {manifest} "
            f"metrics/predictions.csv {submission}`"
        )
    classes = classes_of(manifest, clips)
    content = submission.read_bytes()
    summary = mer2025_submission.check(content, candidates, classes, str(submission))
    return f"{submission}: {summary}"


def _candidates(clips: Sequence[Clip], manifest: Path) -> list[str]:
    candidates = [clip.clip_id for clip in clips if clip.split == "candidate"]
    if not candidates:
        counts = Counter(clip.split for clip in clips)
        splits = ", ".join(f"{count} {split}" for split, count in counts.items())
        raise CorpusError(
            f"{manifest} has no clip of the split candidate, but {splits}: only a corpus with "
            "candidates, such as mer2025, can be submitted"
        )
    return candidates


def _check_same_manifest(
    clips: Sequence[Clip], rows: Sequence[Row], manifest: Path, predictions: Path
) -> None:
    expected = [(clip.clip_id, clip.split) for clip in clips]
    found = [(row["clip_id"], row["split"]) for row in rows]
    if found == expected:
        return
    pairs = enumerate(zip(found, expected, strict=False), 1)
    differences = (
        f"line {number} has {got[0]!r} ({got[1]}), the manifest {want[0]!r} ({want[1]})"
        for number, (got, want) in pairs
        if got != want
    )
    lengths = f"{len(found)} clips, the manifest has {len(expected)}"
    raise CorpusError(
        f"{predictions} does not belong to {manifest}: {next(differences, lengths)}. "
        f"Run `dvc repro evaluate_fusion` with corpus {manifest.stem}"
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
    """Write the PREDICTIONS of MANIFEST's candidates to SUBMISSION, or check a file.

    \b
    Example:
      ecmf submit data/manifests/mer2025.csv metrics/predictions.csv submission.csv
      ecmf submit data/manifests/mer2025.csv --check submission.csv
    """  # noqa: D301
    if check is not None and predictions is None:
        return check_submission(manifest, check)
    if check is not None or predictions is None or submission is None:
        raise click.UsageError("expected PREDICTIONS and SUBMISSION, or --check FILE alone")
    return write_submission(manifest, predictions, submission)
