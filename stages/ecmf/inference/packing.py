"""Pack trained models into a folder that needs nothing else of the project, and check it.

The folder has the models of `train_fusion`, the reports of their evaluation, a `README.md` in the
form of the Hugging Face hub, and the SHA-256 of all of these as `sha256sum -c` reads them.
"""

import shutil
from pathlib import Path

import numpy as np

from ecmf.data.features import Source
from ecmf.errors import ParamsError, StoreError, UserError, summarise
from ecmf.evaluation.new_clips import predict_new
from ecmf.evaluation.prediction import Predictor
from ecmf.inference.model_card import write_card
from ecmf.inference.trained_model import DETAILS, EVALUATION, TrainedModel, read_evaluation
from ecmf.storage.files import sha256, write_json, write_text
from ecmf.training.model_metadata import ModelMetadata

DIGESTS = "SHA256SUMS"

MAX_MESSAGE = 500
"""Characters of a library's message about weights that do not fit."""


def pack(model: Path, target: Path) -> ModelMetadata:
    """Write the models of `model` with their reports and a card into the new folder `target`.

    Raises:
        ParamsError: `target` exists.
        MissingFileError: there is no model, or it was not evaluated.
        StoreError: a file of the model is damaged.
    """
    if target.exists():
        raise ParamsError(f"{target} exists: name a folder to be made")
    metadata = TrainedModel(model).metadata
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(model, part, ignore=lambda folder, names: {".gitignore"} & {*names})
    for name in (EVALUATION, DETAILS):
        write_json(part / name, read_evaluation(model, name))
    write_card(part, metadata)
    names = sorted(path.relative_to(part).as_posix() for path in part.rglob("*") if path.is_file())
    digests = (f"{sha256(part / name)}  {name}\n" for name in names if name != DIGESTS)
    write_text(part / DIGESTS, "".join(digests))
    check(part)
    part.replace(target)
    return metadata


def check(folder: Path) -> ModelMetadata:
    """Verify the digests of a packed folder, load every model of it, and let each predict.

    Raises:
        StoreError: a file is absent, was changed or added, or the models are no packed ones.
    """
    if not (folder / DIGESTS).is_file():
        raise StoreError(f"no {DIGESTS} in {folder}: write the folder with `ecmf model pack`")
    lines = (folder / DIGESTS).read_text("utf-8", errors="replace").splitlines()
    expected = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    errors = [f"{name!r} is absent" for name in sorted(expected.keys() - files)]
    errors += [f"{name!r} is not listed" for name in sorted(files - expected.keys() - {DIGESTS})]
    errors += [
        f"{name!r} was changed"
        for name in sorted(expected.keys() & files)
        if sha256(folder / name) != expected[name]
    ]
    if errors:
        raise StoreError(f"{summarise(folder, errors)}\n  pack the model again, or fetch it again")
    try:
        model = TrainedModel(folder)
        _predict_a_clip_without_sources(folder, model)
    except UserError:
        raise
    except Exception as error:  # weights or reports that do not fit the metadata beside them
        message = f"{type(error).__name__}: {error}"[:MAX_MESSAGE]
        raise StoreError(f"{folder}: its models do not load ({message}): fetch it again") from error
    return model.metadata


def _predict_a_clip_without_sources(folder: Path, model: TrainedModel) -> None:
    """Load the weights of all models that predict new clips."""
    sources = [
        Source(s.name, np.empty((0, s.dim), "float32"), np.zeros(2, "int64"), s.provenance)
        for s in model.metadata.sources
    ]
    predicted = predict_new(Predictor(folder, sources), model.details, np.array([0]))
    if np.isnan(predicted.outputs).any():
        raise StoreError(f"{folder}: the models predict no numbers: train them again")
