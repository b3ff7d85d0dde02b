"""`params.yaml`, typed: one class per stage, no unknown key, all faults in one message.

It holds what changes a result and nothing else: device and workers come from the environment.
"""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from ecmf import registry
from ecmf.config import Section
from ecmf.errors import MissingFileError, ParamsError

Options = dict[str, dict[str, Any]]
"""Options per plugin, so that another plugin is one changed line and finds its own."""

Fraction = Annotated[float, Field(ge=0, le=1)]
JpegQuality = Annotated[
    int, Field(ge=1, le=100, description="JPEG quality of the images that are stored.")
]
ErrorBudget = Annotated[
    float, Field(ge=0, le=1, description="Fraction of clips that may fail before the stage does.")
]


def plugin_of(family: str) -> AfterValidator:
    """Accept only the name of a file in the folder of `family`."""

    def check(name: str) -> str:
        try:
            return registry.check_name(family, name)
        except ParamsError as error:
            raise ValueError(str(error)) from error

    return AfterValidator(check)


def _file_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_]*", name):
        raise ValueError(f"{name!r} becomes a file name: use lower-case letters, digits and _")
    return name


SourceName = Annotated[str, AfterValidator(_file_name)]
"""The name of an encoder in a branch's table, and of its file of features."""


class Choice(BaseModel):
    """One entry of a table of encoders: `encoder`, and beside it the encoder's own options."""

    model_config = ConfigDict(extra="allow", frozen=True)

    encoder: str

    @property
    def options(self) -> Mapping[str, Any]:
        """Options of the encoder itself."""
        return self.model_extra or {}


class ImageChoice(Choice):
    """An encoder of images."""

    encoder: Annotated[str, plugin_of("encoders.image")]


class AudioChoice(Choice):
    """An encoder of audio."""

    encoder: Annotated[str, plugin_of("encoders.audio")]


View = Literal["raw", "enriched", "both", "context"]


class TextChoice(Choice):
    """An encoder of text, and the view of the text it reads (`encoding/text_views.py`)."""

    encoder: Annotated[str, plugin_of("encoders.text")]
    view: View = Field(
        "raw",
        description="The transcript, the enriched text, both, or the transcript in its dialogue.",
    )


def _not_empty(table: dict[str, Any]) -> dict[str, Any]:
    if not table:  # enrich_text depends on the folder of its features, which is then never made
        raise ValueError("keep one encoder; train_fusion.branches leaves the whole branch out")
    return table


AnyChoice = TypeVar("AnyChoice", bound=Choice)


def chosen(table: Mapping[str, AnyChoice], name: str) -> AnyChoice:
    """Look up an encoder in a branch's table; raises ParamsError listing those there are."""
    if name not in table:
        raise ParamsError(
            f"no encoder {name!r} in the table: it has {', '.join(table)}."
            + registry.did_you_mean(name, table)
        )
    return table[name]


VoiceName = Literal["espeak", "babble"]


class MakeSample(Section):
    """The sample corpus: its actors, its size, how ambiguous it is, and its errors."""

    seed: int = Field(7, ge=0, description="Everything random follows from it.")
    voice: VoiceName = Field(
        "espeak",
        description="`espeak` speaks words and needs the extra `sample-voice` (GPL-3); without it, "
        "or as `babble`, actors make speech-like sounds.",
    )
    frames_per_second: int = Field(10, ge=5, le=30, description="Frame rate of the video.")
    shortest_seconds: float = Field(
        2.0, ge=1, le=10, description="Length to which a shorter clip is padded with silence."
    )
    train_actors: int = Field(16, ge=1, le=500, description="Actors of the training split.")
    val_actors: int = Field(4, ge=1, le=500, description="Actors of the validation split.")
    test_actors: int = Field(4, ge=1, le=500, description="Actors of the test split.")
    unlabelled_actors: int = Field(8, ge=0, le=500, description="Actors of the unlabelled split.")
    clips_per_actor: int = Field(
        15, ge=1, le=1000, description="A multiple of 3 balances the emotions of two actors."
    )
    clips_per_unlabelled_actor: int = Field(
        6, ge=1, le=1000, description="Clips of each unlabelled actor."
    )
    label_noise: Fraction = Field(0.20, description="Fraction of wrong training labels.")
    annotator_errors: tuple[Fraction, ...] = Field(
        (0.15, 0.25, 0.35), description="Fraction of errors of each annotator, independent."
    )
    missing_of_each: int = Field(
        3,
        ge=0,
        le=1000,
        description="Clips without a face, as many without a voice, as many without a transcript; "
        "of each kind the first is in training, the second in validation, the third in test.",
    )
    face_blend: Fraction = Field(
        0.72, description="Largest share of the other emotion in an ambiguous face."
    )
    voice_blend: Fraction = Field(
        0.58, description="Largest share of the other emotion in an ambiguous voice."
    )
    plain_sentences: Fraction = Field(
        0.35, description="Fraction of sentences that express one emotion only."
    )

    @model_validator(mode="after")
    def _room_for_the_missing(self) -> Self:
        train = self.train_actors * self.clips_per_actor
        held_out = min(self.val_actors, self.test_actors) * self.clips_per_actor
        if 3 * self.missing_of_each > train or (self.missing_of_each > 1 and held_out < 3):
            raise ValueError(
                f"missing_of_each is {self.missing_of_each}, for a face, a voice and a transcript "
                f"each, too many for {train} training and {held_out} validation or test clips: "
                "lower it"
            )
        return self


class DecodeVideo(Section):
    """Parameters of decoding a file into frames and a waveform."""

    decoder: Annotated[str, plugin_of("decoders")] = Field(
        "decord", description="A file in stages/ecmf/decoders/."
    )
    options: Options = Field(default_factory=dict, description="Options per decoder.")
    frames: int = Field(16, ge=1, description="Frames per clip, uniform in time.")
    longest_side: int = Field(
        320, ge=16, description="Pixels of a frame's longer side; frames are never enlarged."
    )
    jpeg_quality: JpegQuality = 95
    seconds_per_clip: float = Field(
        60, gt=0, description="A decoder that takes longer for one clip is killed."
    )
    error_budget: ErrorBudget = 0.01


class CropFaces(Section):
    """Parameters of detecting and cropping the face of a frame."""

    detector: Annotated[str, plugin_of("detectors")] = Field(
        "dlib_hog", description="A file in stages/ecmf/detectors/."
    )
    options: Options = Field(default_factory=dict, description="Options per detector.")
    margin: float = Field(
        0.2, ge=0, description="Added on each side of the face's box, as a fraction of it."
    )
    crop_pixels: int = Field(112, ge=8, description="Side of the square crop in pixels.")
    minimum_confidence: float | None = Field(
        None, description="Least confidence of a detection; null is the detector's own."
    )
    jpeg_quality: JpegQuality = 95
    error_budget: ErrorBudget = 0.01


class EncodeFrames(Section):
    """Encoders of whole frames."""

    encoders: dict[SourceName, ImageChoice]
    error_budget: ErrorBudget = 0.01


class EncodeFaces(Section):
    """Encoders of face crops."""

    encoders: Annotated[dict[SourceName, ImageChoice], AfterValidator(_not_empty)]
    error_budget: ErrorBudget = 0.01


class EncodeAudio(Section):
    """Encoders of audio."""

    encoders: dict[SourceName, AudioChoice]
    error_budget: ErrorBudget = 0.01


class EncodeText(Section):
    """Encoders of text."""

    encoders: dict[SourceName, TextChoice]
    error_budget: ErrorBudget = 0.01


class EnrichText(Section):
    """Parameters of adding emotional cues to a transcript."""

    provider: Annotated[str, plugin_of("llms")] = Field(
        "lexicon", description="A file in stages/ecmf/llms/."
    )
    options: Options = Field(default_factory=dict, description="Options per provider.")
    facts: bool = Field(
        True, description="Whether measured nonverbal cues of voice and face are in the prompt."
    )
    context_lines: int = Field(
        0,
        ge=0,
        description="Lines of the dialogue before a clip's own that are in the prompt, and kept "
        "for the view `context` of encode_text.",
    )
    action_units: SourceName | None = Field(
        None, description="The encoder of faces whose columns are facial action units."
    )
    error_budget: ErrorBudget = 0.01


class Table(Section):
    """A csv file of the user's, identified by its content."""

    path: str
    sha256: str = ""


RESERVED = re.compile(r"given|llm|fusion|models|text_cues|trusted|annotator_.*")


def _not_reserved(name: str) -> str:
    if RESERVED.fullmatch(name):
        raise ValueError(f"{name!r} is the name of another source of labels: choose one of its own")
    return name


TableName = Annotated[SourceName, AfterValidator(_not_reserved)]


class PseudoLabels(Section):
    """Parameters of self-training on unlabelled clips."""

    rounds: int = Field(0, ge=0, description="Rounds of self-training; 0 adds no clip.")
    threshold: Fraction = Field(0.8, description="Least probability of a class that is added.")
    thresholds: dict[str, Fraction] = Field(
        default_factory=dict, description="Threshold per class, in place of `threshold`."
    )
    class_prior: Literal["none", "training"] = Field(
        "training",
        description="`training` first rescales probabilities to the training split's class shares.",
    )
    cap: float | None = Field(
        1.5, gt=0, description="Most clips of a class, as a multiple of its share; null is no cap."
    )
    weight: float = Field(0.5, gt=0, description="Weight of an added clip in training.")
    soft: bool = Field(
        False, description="Whether an added clip is trained on probabilities, not on its class."
    )
    min_gain: float = Field(
        0.0,
        description="Gain in out-of-fold WAF that a round must exceed; else it is undone and the "
        "last.",
    )


Disagreement = Literal["keep", "soften", "downweight", "relabel", "drop"]
"""Policy for a clip whose given label is not the most probable one.

`keep` changes nothing, `soften` trains on the probabilities of all classes, `downweight` weighs the
clip by the probability of its label, `relabel` gives it the most probable class, `drop` removes it
from training.
"""


class RefineLabels(Section):
    """Parameters of refining the labels of the training split."""

    refiner: Annotated[str, plugin_of("refiners")] = Field(
        "vote", description="A file in stages/ecmf/refiners/."
    )
    options: Options = Field(default_factory=dict, description="Options per refiner.")
    disagreement: Disagreement = Field(
        "relabel", description="Policy for a label that is not the most probable one."
    )
    min_confidence: Fraction = Field(
        0.0, description="Probability another class must have before a label is doubted."
    )
    folds: int = Field(5, ge=2, description="Folds, by group, of the out-of-fold models.")
    seed: int = Field(0, description="Seed of the out-of-fold models and their folds.")
    fusion: Annotated[str, plugin_of("fusion")] = Field(
        "ecmf", description="The fusion that votes, beside one classifier per encoder."
    )
    tables: dict[TableName, Table] = Field(
        default_factory=dict, description="Votes made elsewhere: name -> csv file."
    )
    trusted: Table | None = Field(
        None, description="A csv file of training clips whose label is known for sure."
    )
    pseudo_labels: PseudoLabels = Field(default_factory=lambda: PseudoLabels.model_validate({}))


Branch = Literal["frame", "face", "audio", "text"]
BRANCHES: tuple[Branch, ...] = ("frame", "face", "audio", "text")


class TrainFusion(Section):
    """The fusion model, and its training."""

    model: Annotated[str, plugin_of("fusion")] = Field(
        "ecmf", description="A file in stages/ecmf/fusion/."
    )
    ensemble: tuple[Annotated[str, plugin_of("fusion")], ...] = Field(
        (), description="Further models, trained beside it on the same folds and seeds."
    )
    options: Options = Field(default_factory=dict, description="Options per model.")
    branches: tuple[Branch, ...] = Field(
        BRANCHES, min_length=1, description="Branches whose encoders are read."
    )
    standardise: Literal["none", "corpus", "speaker"] = Field(
        "corpus", description="Whether features are standardised, over the corpus or per speaker."
    )
    folds: int = Field(
        5,
        ge=0,
        description="Folds, by group, of the training split; 1 stops early on the validation "
        "split, 0 never.",
    )
    outer_folds: int = Field(
        5, ge=2, description="Test folds, by group, of a corpus without a test split."
    )
    seeds: tuple[int, ...] = Field((0, 1, 2), description="One training per seed and fold.")
    epochs: int = Field(30, ge=1, description="Most epochs of a training.")
    patience: int = Field(30, ge=1, description="Epochs without gain that end a training.")
    batch_size: int = Field(64, ge=1, description="Clips per batch.")
    learning_rate: float = Field(3e-3, gt=0, description="Highest learning rate of AdamW.")
    schedule: Literal["one_cycle", "cosine", "constant"] = Field(
        "one_cycle", description="Schedule of the learning rate."
    )
    weight_decay: float = Field(0.5, ge=0, description="Weight decay of AdamW.")
    gradient_clip: float = Field(0.0, ge=0, description="Largest gradient norm; 0 is no limit.")
    weight_ema: float = Field(
        0.0, ge=0, lt=1, description="Decay of the moving average of the weights; 0 is none."
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="bfloat16 trains by autocast where torch can; for GPUs."
    )
    label_smoothing: Fraction = Field(0.0, description="Label smoothing of the cross entropy.")
    class_weights: bool = Field(False, description="Whether every class counts alike in the loss.")
    modality_dropout: Fraction = Field(
        0.0, description="Probability that a source is hidden from a clip in training."
    )
    mixup: float = Field(0.0, ge=0, description="Alpha of mixup's beta distribution; 0 is none.")

    @property
    def members(self) -> tuple[str, ...]:
        """Names of all models that are trained; `model` is the first."""
        return self.model, *self.ensemble

    def of_member(self, name: str) -> Self:
        """Return the parameters of one model, the same whichever others are trained beside it."""
        return self.model_copy(update={"model": name, "ensemble": ()})

    @model_validator(mode="after")
    def _no_model_stands_twice(self) -> Self:
        for name, count in Counter(self.members).items():
            if count > 1:
                raise ValueError(
                    f"{name!r} stands {count} times in model and ensemble: name each model once"
                )
        return self


class AuditLabels(Section):
    """Contents of the page of doubtful labels."""

    clips: int = Field(40, ge=0, description="Clips most in doubt that are shown.")
    frames: int = Field(3, ge=0, description="Frames of each clip that are shown.")


class EvaluateFusion(Section):
    """Parameters of joining an ensemble's models and of the intervals of scores."""

    ensemble_weights: Literal["equal", "validation"] = Field(
        "equal", description="Weights of an ensemble's models; `validation` fits them."
    )
    class_prior: Literal["none", "validation"] = Field(
        "none",
        description="`validation` rescales classes until their mean probability on validation "
        "clips is their share of the labels.",
    )
    bootstrap: int = Field(1000, ge=1, description="Resamples for the 95 % interval.")
    seed: int = Field(0, description="Seed of the resampling.")


class ReportCoverage(Section):
    """No parameters: every store is counted."""


class Params(Section):
    """The whole file; each section has the name of the stage that reads it."""

    corpus: Annotated[str, AfterValidator(_file_name)]
    make_sample: MakeSample
    decode_video: DecodeVideo
    crop_faces: CropFaces
    encode_frames: EncodeFrames
    encode_faces: EncodeFaces
    encode_audio: EncodeAudio
    enrich_text: EnrichText
    encode_text: EncodeText
    refine_labels: RefineLabels
    audit_labels: AuditLabels
    train_fusion: TrainFusion
    evaluate_fusion: EvaluateFusion

    @model_validator(mode="after")
    def _action_units_are_a_face_encoder(self) -> Self:
        named, table = self.enrich_text.action_units, self.encode_faces.encoders
        if named is not None and named not in table:
            raise ValueError(
                f"enrich_text.action_units is {named!r}, encode_faces.encoders has "
                f"{', '.join(table)}.{registry.did_you_mean(named, table)}"
            )
        return self

    @model_validator(mode="after")
    def _context_is_kept(self) -> Self:
        readers = [name for name, one in self.encode_text.encoders.items() if one.view == "context"]
        if readers and not self.enrich_text.context_lines:
            raise ValueError(
                f"encode_text.encoders.{readers[0]} has view 'context', but "
                "enrich_text.context_lines is 0: set it to how many lines are to be read, e.g. 4"
            )
        return self

    @property
    def sources(self) -> "Sources":
        """The encoders that the four tables name."""
        return Sources(
            {
                "frame": tuple(self.encode_frames.encoders),
                "face": tuple(self.encode_faces.encoders),
                "audio": tuple(self.encode_audio.encoders),
                "text": tuple(self.encode_text.encoders),
            }
        )


class Sources(dict[Branch, tuple[str, ...]]):
    """Names of the encoders of each branch: exactly these files of features are read."""

    def paths(self, folder: Path) -> dict[str, Path]:
        """Map `branch/name` to its file below the folder of features, in the tables' order."""
        return {
            f"{branch}/{name}": folder / branch / f"{name}.h5"
            for branch, names in self.items()
            for name in names
        }


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and check `path`; raises ParamsError that names every wrong key and why."""
    if not path.is_file():
        raise MissingFileError(f"no {path} in {Path.cwd()}: run from the project's root")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ParamsError(f"{path} is not YAML: {error}") from error
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise ParamsError(
            f"{path} is not valid: {registry.validation_errors(error, Params)}"
        ) from error
