"""Load a folder of trained models, and predict clips with it."""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecmf.data.manifest import Clip
from ecmf.errors import ClipError, MissingFileError, StoreError
from ecmf.evaluation.new_clips import predict_new
from ecmf.evaluation.prediction import Predictor
from ecmf.inference.clip_prediction import (
    CLOSE,
    ClipPrediction,
    entropy_and_margin,
    with_words,
)
from ecmf.inference.feature_extraction import ExtractedFeatures, FeatureExtractor
from ecmf.inference.new_files import clip_of
from ecmf.training.model_metadata import metadata_digest, read_metadata
from ecmf.training.source_reading import read_sources
from ecmf.training.task import Prediction, load_task

MODEL, METRICS = Path("models/fusion"), Path("metrics")
"""Folders of the pipeline: of the trained models, and of the reports of their evaluation."""

EVALUATION, DETAILS = "evaluation.json", "evaluation_details.json"

MAKE_AGAIN = "run `dvc repro evaluate_fusion`, or fetch the packed model again"

USABLE = ("whole", "flagged")


def read_evaluation(model: Path, name: str = DETAILS) -> dict[str, Any]:
    """Read a report of `evaluate_fusion`: from the folder of a packed model, else from METRICS.

    Raises:
        MissingFileError: there is none.
        StoreError: the reports are those of another model, or damaged.
    """
    folder = model if (model / DETAILS).is_file() else METRICS
    if not (folder / DETAILS).is_file() or not (folder / name).is_file():
        raise MissingFileError(
            f"no {name} in {model}, nor in {METRICS}, for the weights of the trained models: run "
            "`dvc repro evaluate_fusion`, or name a folder that `ecmf model pack` wrote"
        )
    details = _read_json(folder / DETAILS)
    if details.get("model_sha256") != metadata_digest(model):
        raise StoreError(
            f"{folder / DETAILS} is of another model than {model}: run `dvc repro evaluate_fusion`"
        )
    return details if name == DETAILS else _read_json(folder / name)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or nested too deeply
        raise StoreError(f"{path} is damaged ({error}): {MAKE_AGAIN}") from error
    if not isinstance(content, dict):
        raise StoreError(f"{path} is no report of an evaluation: {MAKE_AGAIN}")
    return content


class TrainedModel:
    """Models in a folder, that of `train_fusion` or one that `ecmf model pack` wrote.

    Attributes:
        folder: The folder.
        metadata: What it states about the models.
        task: What they predict.
        details: Content of the DETAILS of their evaluation.

    Raises:
        MissingFileError: the folder holds no models, or they were not evaluated.
        StoreError: it was written by another version of ecmf.
    """

    def __init__(self, folder: Path | str = MODEL) -> None:
        self.folder = Path(folder)
        self.metadata = read_metadata(self.folder)
        self.task = load_task(self.metadata.training.task, self.metadata.outputs)
        self.details = read_evaluation(self.folder)

    def predict(
        self, path: Path | str, *, transcript: str = "", language: str = ""
    ) -> ClipPrediction:
        """Predict one file of video or audio.

        Raises:
            ClipError: the file cannot be decoded, or the model can read nothing of it.
        """
        (predicted,) = self.predict_clips([clip_of(Path(path), transcript, language)])
        if predicted.error:
            raise ClipError(f"{predicted.clip_id}: {predicted.error}")
        return predicted

    def predict_clips(self, clips: Sequence[Clip]) -> list[ClipPrediction]:
        """Predict clips, in their order; one that fails has the reason in place of a prediction."""
        named = [clip for clip in clips if _name_is_utf8(clip)]
        found = {}
        if named:
            with tempfile.TemporaryDirectory(prefix="ecmf-predict-") as folder:
                extracted = FeatureExtractor(self.metadata)(named, Path(folder))
                found = {each.clip_id: each for each in self._predict(named, extracted)}
        return [
            found.get(clip.clip_id)
            or ClipPrediction(clip.clip_id, error="its name is not UTF-8: rename the file")
            for clip in clips
        ]

    def _predict(
        self, clips: Sequence[Clip], extracted: ExtractedFeatures
    ) -> Iterator[ClipPrediction]:
        sources = read_sources(extracted.paths, clips, self.metadata.training)
        predictor = Predictor(self.folder, sources)
        present = np.stack([source.present for source in sources], axis=1)
        absent = {
            source.name: extracted.reasons(source.name, "empty", "failed") for source in sources
        }
        unreadable = _unreadable(clips, extracted)
        usable = [
            i for i, clip in enumerate(clips) if clip.clip_id not in unreadable and present[i].any()
        ]
        rows = {clip: row for row, clip in enumerate(usable)}
        predicted = (
            predict_new(predictor, self.details, np.array(usable, "int64")) if usable else None
        )
        for i, clip in enumerate(clips):
            missing = {
                name: why[clip.clip_id] for name, why in absent.items() if clip.clip_id in why
            }
            if predicted is None or i not in rows:
                reason = unreadable.get(clip.clip_id) or "the model can read nothing of it: " + (
                    "; ".join(f"{name}: {why}" for name, why in missing.items())
                )
                yield ClipPrediction(clip.clip_id, absent=missing, error=reason)
                continue
            of_clip = _select(predicted, rows[i])
            doubts = _doubts(clip, extracted, self.metadata.preparation.enrich_text.context_lines)
            predicted_clip = self._record(clip, of_clip, predictor, missing, doubts)
            text = extracted.texts.get(clip.clip_id)  # absent if the model reads no text
            yield with_words(predicted_clip, text) if text else predicted_clip

    def _record(
        self,
        clip: Clip,
        predicted: Prediction,
        predictor: Predictor,
        missing: Mapping[str, str],
        doubts: Sequence[str],
    ) -> ClipPrediction:
        (decision,) = self.task.decide(predicted.outputs[None])
        entropy, margin = entropy_and_margin(predicted.outputs)
        outputs = dict(zip(self.metadata.outputs, predicted.outputs.tolist(), strict=True))
        if margin < CLOSE:
            first, second = sorted(outputs, key=lambda name: -outputs[name])[:2]
            close = f"close: {first} {outputs[first]:.2f}, {second} {outputs[second]:.2f}"
            doubts = [close, *doubts]
        names = [source.name for source in predictor.sources]
        weights = dict(zip(names, predicted.weights.tolist(), strict=True))
        return ClipPrediction(
            clip_id=clip.clip_id,
            predicted=decision,
            outputs=outputs,
            weights={
                name: weight
                for name, weight in weights.items()
                if name in predictor.input_sources and not np.isnan(weight)
            },
            dimensions={
                name: float(value)
                for name, value in predicted.dimensions.items()
                if not np.isnan(value)
            },
            entropy=entropy,
            margin=margin,
            absent=missing,
            doubts=doubts,
        )


def _select(prediction: Prediction, row: int) -> Prediction:
    return prediction.map(lambda values: values[row])


def _name_is_utf8(clip: Clip) -> bool:
    """Return whether stores and messages can hold the clip's paths."""
    try:
        (clip.video + clip.audio).encode()
    except UnicodeEncodeError:
        return False
    return True


def _unreadable(clips: Sequence[Clip], extracted: ExtractedFeatures) -> dict[str, str]:
    """Return why the files of clips could not be decoded, neither as video nor as audio."""
    failed = [extracted.reasons(store, "failed") for store in ("frames", "audio")]
    usable = [extracted.reasons(store, *USABLE) for store in ("frames", "audio")]
    return {
        clip.clip_id: "; ".join(dict.fromkeys(f[clip.clip_id] for f in failed if clip.clip_id in f))
        for clip in clips
        if any(clip.clip_id in reasons for reasons in failed)
        and not any(clip.clip_id in reasons for reasons in usable)
    }


def _doubts(clip: Clip, extracted: ExtractedFeatures, context_lines: int) -> list[str]:
    """List reasons to distrust the prediction of a clip, apart from its probabilities."""
    doubts = []
    for store in ("frames", "audio", "faces", "text"):
        states = ("flagged",) if store == "faces" else ("flagged", "failed")
        if reason := extracted.reasons(store, *states).get(clip.clip_id):
            doubts.append(f"{store}: {reason}")
    if clip.split == "train":
        doubts.append("it is of a training split: the models may have been trained on it")
    if context_lines and not clip.dialogue:
        doubts.append("no lines of a dialogue before it were given, which the model reads")
    return doubts
