"""Read and write the metadata of the trained models, `models/fusion/card.yaml`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError

from ecmf.config import Section
from ecmf.data.features import Source
from ecmf.errors import MissingFileError, ParamsError, StoreError
from ecmf.params import Preparation, TrainFusion
from ecmf.storage.files import sha256, write_text
from ecmf.yaml_file import read_yaml

FILE_NAME = "card.yaml"

FileName = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
"""A name that leads into no other folder, for a packed model may come from a stranger."""

MAX_DIM = 1_000_000
"""Width of the rows of a source, hundreds of times that of any encoder."""


class SourceMetadata(Section):
    """A source: the width of its rows and the provenance of its store."""

    name: str
    dim: Annotated[int, Field(ge=1, le=MAX_DIM)]
    provenance: dict[str, Any]


class RunMetadata(Section):
    """One training run: its fold, validation and test groups, best epoch, and hash of the weights.

    `targets` counts the training clips for which each value of the targets is known. If it is 0,
    the model's prediction of that value is meaningless. `sources` are the values of the sources, by
    name, if the folds chose among them; a model of weight 0 does not read the source.
    """

    name: FileName
    seed: int
    round: int
    fold: int
    best_epoch: int
    validation_score: float | None
    sha256: str
    targets: dict[str, int]
    validation_groups: list[str]
    test_groups: list[str]
    sources: dict[str, dict[str, float]] = Field(default_factory=dict)


class MemberMetadata(Section):
    """One ensemble member: its number of trained parameters, and its runs."""

    name: FileName
    parameters: int
    runs: list[RunMetadata]


class ModelMetadata(Section):
    """Everything needed to rebuild the models and to identify their training clips.

    `corpus` is the name of the manifest, and `outputs` are the names of the outputs of the task,
    e.g. the classes. `preparation` leads from the files of a clip to its features;
    `voice_thresholds` are the values of a voice, by measure, that the training split makes low and
    high in enriched text.
    """

    corpus: str
    outputs: list[str]
    preparation: Preparation
    voice_thresholds: dict[str, tuple[float, float]]
    training: TrainFusion
    sources: list[SourceMetadata]
    members: list[MemberMetadata]

    def left_out(self) -> dict[str, dict[str, list[int]]]:
        """Return the outer folds whose models do not read a source, by member and source."""
        found: dict[str, dict[str, list[int]]] = {}
        for member in self.members:
            for run in member.runs:
                for source, value in run.sources.items():
                    folds = found.setdefault(member.name, {}).setdefault(source, [])
                    if value["weight"] == 0 and run.round not in folds:
                        folds.append(run.round)
        return {
            member: {source: folds for source, folds in by_source.items() if folds}
            for member, by_source in found.items()
        }

    def check_sources(self, sources: Sequence[Source]) -> None:
        """Check that the features have the provenance of those the model was trained on.

        Raises:
            StoreError: they have not; names the source and the difference.
        """
        trained = ", ".join(source.name for source in self.sources)
        current = ", ".join(source.name for source in sources)
        if trained != current:
            raise StoreError(
                f"the model was trained on {trained}, but the features are {current}: "
                "restore the encoders of params.yaml, or train again"
            )
        for ours, theirs in zip(self.sources, sources, strict=True):
            for key in sorted({*ours.provenance, *theirs.provenance}):
                expected, value = ours.provenance.get(key), theirs.provenance.get(key)
                if expected != value:
                    raise StoreError(
                        f"the model was trained on features {ours.name} with {key} {expected!r}, "
                        f"these have {value!r}: encode with the same parameters, or train again"
                    )


def metadata_digest(folder: Path) -> str:
    """Return the SHA-256 of the metadata, which has that of all weights: it identifies a model."""
    return sha256(folder / FILE_NAME)


def weights_path(folder: Path, member: str, run: str) -> Path:
    """Return the path of the weights of a run."""
    return folder / member / f"{run}.safetensors"


def write_metadata(metadata: ModelMetadata, folder: Path) -> None:
    """Write the metadata into the folder of the models."""
    content = yaml.safe_dump(
        metadata.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100
    )
    write_text(folder / FILE_NAME, content)


def read_metadata(folder: Path) -> ModelMetadata:
    """Read the metadata of the models in `folder`.

    Raises:
        MissingFileError: there is no such file.
        StoreError: it was written by another version of ecmf, or is damaged.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise MissingFileError(
            f"no model in {folder}/ (no {FILE_NAME}): run `dvc repro train_fusion`"
        )
    try:
        return ModelMetadata.model_validate(read_yaml(path))
    except (ParamsError, ValidationError) as error:
        raise StoreError(
            f"{path} was written by another version of ecmf, or is damaged: run "
            "`dvc repro -f train_fusion`, or fetch a packed model again"
        ) from error
