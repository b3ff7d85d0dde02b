"""`params.yaml`, typed: one class per stage, no key it does not know, all faults in one message.

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
"""Options per member, so that another member is one changed line and finds its own."""

Share = Annotated[float, Field(ge=0, le=1)]
JpegQuality = Annotated[int, Field(ge=1, le=100)]


def member_of(family: str) -> AfterValidator:
    """Accept only the name of a file in the folder of `family`."""

    def check(name: str) -> str:
        try:
            return registry.known(family, name)
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
    """One entry of a table of encoders: `member`, and beside it the member's own options."""

    model_config = ConfigDict(extra="allow", frozen=True)

    member: str

    @property
    def options(self) -> Mapping[str, Any]:
        """What the member itself reads."""
        return self.model_extra or {}


class ImageChoice(Choice):
    """An encoder of pictures."""

    member: Annotated[str, member_of("encoders.image")]


class AudioChoice(Choice):
    """An encoder of the voice."""

    member: Annotated[str, member_of("encoders.audio")]


View = Literal["raw", "enriched", "both", "context"]


class TextChoice(Choice):
    """An encoder of text, and what it reads: the transcript, the enriched one, both, or a dialogue.

    What each view is stands in `ecmf.views`.
    """

    member: Annotated[str, member_of("encoders.text")]
    view: View = "raw"


def _not_empty(table: dict[str, Any]) -> dict[str, Any]:
    if not table:  # enrich_text depends on the folder of its features, which is then never made
        raise ValueError("keep one encoder; train_fusion.branches leaves the whole branch out")
    return table


AnyChoice = TypeVar("AnyChoice", bound=Choice)


def chosen(table: Mapping[str, AnyChoice], name: str) -> AnyChoice:
    """Look an encoder up in a branch's table; raises ParamsError listing those there are."""
    if name not in table:
        raise ParamsError(
            f"no encoder {name!r} in the table: it has {', '.join(table)}."
            + registry.hint(name, table)
        )
    return table[name]


VoiceName = Literal["espeak", "babble"]


class MakeSample(Section):
    """The sample corpus: who plays, how much, how ambiguous, and what is wrong with it.

    Attributes:
        seed: everything random follows from it.
        voice: `espeak` speaks words and needs the extra `sample-voice` (GPL-3); `babble` is speech-
            like sound made here. Without the extra `espeak` falls back to `babble`, with a warning.
        frames_per_second: of the video.
        shortest_seconds: a shorter clip is filled up with silence at its end.
        train_actors, val_actors, test_actors: people per split; no actor is in two splits.
        unlabelled_actors: people of the unlabelled split, whom no other split knows.
        clips_per_actor: of a labelled actor; a multiple of 3 balances the emotions of two actors.
        clips_per_unlabelled_actor: of an unlabelled one.
        wrong_labels: share of the training labels that are wrong.
        annotator_errors: share of errors of each annotator, independent of each other and of the
            given label.
        missing_of_each: clips without a face, as many without a voice, as many without a
            transcript. Of each kind the first is in training, the second in validation, the third
            in test, and all further ones in training.
        face_blend, voice_blend: how far, at most, a face or a voice moves to the emotion it is
            mixed up with: at 0 it is never ambiguous, at 1 it can be entirely the other one.
        plain_sentences: share of sentences that only one emotion says.
        off_key: chance that a modality shows an emotion picked at random.
        weakest: intensity of the faintest face and voice; the strongest has 1.1.
    """

    seed: int = Field(default=7, ge=0)
    voice: VoiceName = "espeak"
    frames_per_second: int = Field(default=10, ge=5, le=30)
    shortest_seconds: float = Field(default=2.0, ge=1, le=10)
    train_actors: int = Field(default=16, ge=1, le=500)
    val_actors: int = Field(default=4, ge=1, le=500)
    test_actors: int = Field(default=4, ge=1, le=500)
    unlabelled_actors: int = Field(default=8, ge=0, le=500)
    clips_per_actor: int = Field(default=15, ge=1, le=1000)
    clips_per_unlabelled_actor: int = Field(default=6, ge=1, le=1000)
    wrong_labels: Share = 0.20
    annotator_errors: tuple[Share, ...] = (0.15, 0.25, 0.35)
    missing_of_each: int = Field(default=3, ge=0, le=1000)
    face_blend: Share = 0.72
    voice_blend: Share = 0.58
    plain_sentences: Share = 0.35
    off_key: Share = 0.05
    weakest: float = Field(default=0.75, ge=0.1, le=1.1)

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
    """How a file becomes frames and a waveform."""

    decoder: Annotated[str, member_of("decoders")] = "decord"
    options: Options = Field(default_factory=dict)
    frames: int = Field(16, ge=1)
    longest_side: int = Field(320, ge=16)
    jpeg_quality: JpegQuality = 95
    seconds_per_clip: float = Field(60, gt=0)
    error_budget: Share = 0.01


class CropFaces(Section):
    """Which part of a frame is the face. `margin` is a share of the box on each side."""

    detector: Annotated[str, member_of("detectors")] = "dlib_hog"
    options: Options = Field(default_factory=dict)
    margin: float = Field(0.2, ge=0)
    edge: int = Field(112, ge=8)
    minimum_confidence: float | None = None
    jpeg_quality: JpegQuality = 95
    error_budget: Share = 0.01


class EncodeFrames(Section):
    """Encoders of whole frames."""

    encoders: dict[SourceName, ImageChoice]
    error_budget: Share = 0.01


class EncodeFaces(Section):
    """Encoders of face crops."""

    encoders: Annotated[dict[SourceName, ImageChoice], AfterValidator(_not_empty)]
    error_budget: Share = 0.01


class EncodeAudio(Section):
    """Encoders of the voice."""

    encoders: dict[SourceName, AudioChoice]
    error_budget: Share = 0.01


class EncodeText(Section):
    """Encoders of what is said."""

    encoders: dict[SourceName, TextChoice]
    error_budget: Share = 0.01


class EnrichText(Section):
    """Who adds emotional cues to a transcript, and what is told beside it.

    `facts` are measured of voice and face; `context_lines` is how many lines of the dialogue before
    the clip's own are told, and kept for the view `context` of `encode_text`.
    """

    provider: Annotated[str, member_of("llms")] = "lexicon"
    options: Options = Field(default_factory=dict)
    facts: bool = True
    context_lines: int = Field(0, ge=0)
    action_units: SourceName | None = None
    error_budget: Share = 0.01


class Table(Section):
    """A csv file of the user's, known by its content."""

    path: str
    sha256: str = ""


RESERVED = re.compile(r"given|llm|fusion|models|text_cues|trusted|annotator_.*")


def _not_reserved(name: str) -> str:
    if RESERVED.fullmatch(name):
        raise ValueError(f"{name!r} is the name of another source of labels: choose one of its own")
    return name


TableName = Annotated[SourceName, AfterValidator(_not_reserved)]


class PseudoLabels(Section):
    """Which unlabelled clips are learned from, after `rounds` of self-training; 0 adds none.

    A clip is taken for a class from `thresholds[class]` on, else from `threshold` on. `prior`
    `training` first moves the probabilities to the classes' shares of the training split; `cap` is
    how many times its share a class may take at most, null for no limit. `weight` is how much such
    a clip counts; `soft` learns its probabilities instead of its class. A round whose models gain
    no more than `least_gain` WAF out of fold is taken back, and is the last.
    """

    rounds: int = Field(0, ge=0)
    threshold: Share = 0.8
    thresholds: dict[str, Share] = Field(default_factory=dict)
    prior: Literal["none", "training"] = "training"
    cap: float | None = Field(1.5, gt=0)
    weight: float = Field(0.5, gt=0)
    soft: bool = False
    least_gain: float = 0.0


Disagreement = Literal["keep", "soften", "weigh_down", "relabel", "drop"]
"""What becomes of a clip whose label is not believed.

`keep`: nothing. `soften`: it is learned with the probabilities of all classes. `weigh_down`: it
keeps its label and counts as much as that is believed. `relabel`: it gets the class believed most.
`drop`: nobody learns from it.
"""


class RefineLabels(Section):
    """Who decides on the labels of the training split, and what becomes of those not believed.

    `folds` and `seed` are those of the models that vote; `fusion` is the one of all branches.
    `tables` are votes made elsewhere, name -> csv; `trusted` a csv of training clips whose label is
    known for sure.
    """

    refiner: Annotated[str, member_of("refiners")] = "vote"
    options: Options = Field(default_factory=dict)
    disagreement: Disagreement = "relabel"
    least_confidence: Share = 0.0
    folds: int = Field(5, ge=2)
    seed: int = 0
    fusion: Annotated[str, member_of("fusion")] = "ecmf"
    tables: dict[TableName, Table] = Field(default_factory=dict)
    trusted: Table | None = None
    pseudo_labels: PseudoLabels = Field(default_factory=lambda: PseudoLabels.model_validate({}))


Branch = Literal["frame", "face", "audio", "text"]
BRANCHES: tuple[Branch, ...] = ("frame", "face", "audio", "text")


class TrainFusion(Section):
    """Which model fuses the sources, and how it is trained.

    `ensemble` names further models that are trained beside it, on the same folds and seeds.
    """

    model: Annotated[str, member_of("fusion")] = "ecmf"
    ensemble: tuple[Annotated[str, member_of("fusion")], ...] = ()
    options: Options = Field(default_factory=dict)
    branches: tuple[Branch, ...] = Field(BRANCHES, min_length=1)
    standardise: Literal["none", "corpus", "speaker"] = "corpus"
    folds: int = Field(5, ge=0)
    test_folds: int = Field(5, ge=2)
    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: int = Field(30, ge=1)
    patience: int = Field(30, ge=1)
    batch: int = Field(64, ge=1)
    learning_rate: float = Field(3e-3, gt=0)
    schedule: Literal["one_cycle", "cosine", "constant"] = "one_cycle"
    weight_decay: float = Field(0.5, ge=0)
    gradient_clip: float = Field(0.0, ge=0)
    average: float = Field(0.0, ge=0, lt=1)
    precision: Literal["float32", "bfloat16"] = "float32"
    label_smoothing: Share = 0.0
    class_weights: bool = False
    modality_dropout: Share = 0.0
    mixup: float = Field(0.0, ge=0)

    @property
    def members(self) -> tuple[str, ...]:
        """All models that are trained; `model` is the first."""
        return self.model, *self.ensemble

    def of_member(self, name: str) -> Self:
        """How one of them is trained: the same whichever others stand beside it."""
        return self.model_copy(update={"model": name, "ensemble": ()})

    @model_validator(mode="after")
    def _no_member_stands_twice(self) -> Self:
        for name, count in Counter(self.members).items():
            if count > 1:
                raise ValueError(
                    f"{name!r} stands {count} times in model and ensemble: name each model once"
                )
        return self


class AuditLabels(Section):
    """How many of the clips most in doubt are shown, and how many frames of each."""

    clips: int = Field(40, ge=0)
    frames: int = Field(3, ge=0)


class EvaluateFusion(Section):
    """How members vote, and how sure a score is: resamplings of the clips, and their seed.

    `votes` `validation` weighs the members by what they say of validation clips. `prior`
    `validation` scales the classes until their mean probability there is their share of the labels.
    """

    votes: Literal["equal", "validation"] = "equal"
    prior: Literal["none", "validation"] = "none"
    bootstrap: int = Field(1000, ge=1)
    seed: int = 0


class ReportCoverage(Section):
    """Nothing to choose: every store is counted."""


class Params(Section):
    """The whole file; each section carries the name of the stage that reads it."""

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
                f"{', '.join(table)}.{registry.hint(named, table)}"
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
        """The sources the four tables name."""
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
        """`branch/name` -> its file below the folder of features, in the order of the tables."""
        return {
            f"{branch}/{name}": folder / branch / f"{name}.h5"
            for branch, names in self.items()
            for name in names
        }


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and check `path`, or raise ParamsError saying which keys are wrong and why."""
    if not path.is_file():
        raise MissingFileError(f"no {path} in {Path.cwd()}: run from the project's root")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ParamsError(f"{path} is not YAML: {error}") from error
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise ParamsError(f"{path} is not valid: {registry.faults(error, Params)}") from error
