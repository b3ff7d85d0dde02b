"""Read the predictions, manifest and parameters of a revision: a commit or the workspace."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dvc.api import DVCFileSystem
from dvc.exceptions import DvcException
from dvc.scm import RevError

from ecmf.data.manifest import Clip, read_manifest
from ecmf.data.prediction_table import PREDICTED, PROBABILITY, Row, read_predictions
from ecmf.data.splits import positions_tested
from ecmf.errors import ComparisonError, MissingFileError
from ecmf.yaml_file import read_yaml

WORKSPACE = "workspace"
"""Name of the files as they are, of commits or not, as in DVC."""

DVC_FOLDER = Path(".dvc")
PARAMS = Path("params.yaml")
LOCK = Path("dvc.lock")
PREDICTIONS = Path("metrics/predictions.csv")


@dataclass(frozen=True)
class Revision:
    """Evaluated clips of the manifest, and the prediction of each.

    `params` are the sections of `params.yaml`, `stages` those of `dvc.lock`: the parameters and the
    hashes of the files that each stage was last run with.
    """

    name: str
    clips: Sequence[Clip]
    predictions: Mapping[str, Row]
    params: Mapping[str, Any]
    stages: Mapping[str, Any]

    @cached_property
    def test(self) -> list[Clip]:
        """The test split, or all labelled clips of a corpus without one (its test folds)."""
        labels = [clip.label for clip in self.clips]
        return [self.clips[i] for i in positions_tested(self.clips, labels)]

    @property
    def classes(self) -> list[str]:
        """The classes, in the order of the columns of their probabilities."""
        columns: Row = next(iter(self.predictions.values()), {})
        return [name.removeprefix(PROBABILITY) for name in columns if name.startswith(PROBABILITY)]

    def decision(self, clip: Clip) -> str:
        """Return the class predicted for a clip, or "" if it was not predicted."""
        return self.predictions[clip.clip_id][PREDICTED]

    def confidence(self, clip: Clip) -> float:
        """Return the probability of the class predicted for a clip."""
        return float(self.predictions[clip.clip_id][PROBABILITY + self.decision(clip)])


def read_revision(name: str) -> Revision:
    """Read a commit, branch, tag, experiment, or the workspace, of the project in this folder.

    Raises:
        CorpusError: its manifest or its predictions are not valid.
        ComparisonError: its predictions belong to another manifest, or its params.yaml or dvc.lock
            are none.
        MissingFileError: there is no such revision, it has no predictions, they are no longer in
            the DVC cache, DVC cannot read it, or the current folder is not the root of a project.
    """
    if not DVC_FOLDER.is_dir():
        raise MissingFileError(f"{Path.cwd()} is no DVC repository: run from the project's root")
    if not name:  # to DVC, the workspace
        raise _no_revision(name)
    rev = None if name == WORKSPACE else name
    try:
        with TemporaryDirectory() as folder, closing(DVCFileSystem(rev=rev)) as files:
            copies = _Copies(name, files, Path(folder))
            params = copies.fetch_yaml(PARAMS, "corpus")
            manifest = copies.fetch(Path(f"data/manifests/{Path(str(params['corpus'])).name}.csv"))
            clips = read_manifest(manifest)
            rows = read_predictions(copies.fetch(PREDICTIONS))
            lock = copies.fetch_yaml(LOCK, "stages")
    except RevError as error:
        raise _no_revision(name) from error
    except DvcException as error:
        raise MissingFileError(f"DVC cannot read {name}: {error}") from error
    _check_same_manifest(name, clips, rows, manifest.name)
    return Revision(name, clips, {row["clip_id"]: row for row in rows}, params, lock["stages"])


def _no_revision(name: str) -> MissingFileError:
    return MissingFileError(
        f"no revision {name!r}: give a commit, a branch, a tag, the name of an experiment "
        f"(`ecmf experiments` lists them) or {WORKSPACE}"
    )


@dataclass(frozen=True)
class _Copies:
    """Copies of files of a revision, from git, the DVC cache or the workspace, in `folder`."""

    name: str
    files: DVCFileSystem
    folder: Path

    def fetch(self, path: Path) -> Path:
        try:
            content = self.files.read_bytes(path.as_posix())
        except FileNotFoundError as error:
            remedy = (
                "run `dvc repro` in the project's root"
                if self.name == WORKSPACE
                else f"fetch it with `dvc fetch` if it was pushed, or make it again: "
                f"`git checkout {self.name}` (`dvc exp apply` for an experiment), then `dvc repro`"
            )
            raise MissingFileError(
                f"{self.name} has no {path}, neither in git nor in the DVC cache: {remedy}"
            ) from error
        (self.folder / path.name).write_bytes(content)
        return self.folder / path.name

    def fetch_yaml(self, path: Path, required: str) -> dict[str, Any]:
        content = read_yaml(self.fetch(path))
        if not isinstance(content, dict) or not content.get(required):
            raise ComparisonError(f"{path} of {self.name} has no {required!r}: mend it there")
        return content


def _check_same_manifest(
    name: str, clips: Sequence[Clip], rows: Sequence[Row], manifest: str
) -> None:
    expected = [(clip.clip_id, clip.split, clip.label) for clip in clips]
    found = [(row["clip_id"], row["split"], row.get("label", "")) for row in rows]
    if found != expected:
        first = next((e for e, f in zip(expected, found, strict=False) if e != f), expected[-1])
        raise ComparisonError(
            f"{PREDICTIONS} of {name} belongs to another manifest than {manifest} of {name}, e.g. "
            f"clip {first[0]!r} differs ({len(found)} predictions, {len(expected)} clips): run "
            "`dvc repro` there, and commit its dvc.lock"
        )
