"""Make the features of new clips with the parameters of a trained model, stage by stage.

Every stage writes its store into one folder and keeps its results in the cache, as in the pipeline.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ecmf.cropping.crop_recipe import crop_clips
from ecmf.data.coverage import States, read_states
from ecmf.data.enriched_text import EnrichedText, write_texts
from ecmf.data.manifest import Clip
from ecmf.decoding.decode_recipe import decode_clips
from ecmf.encoding.store_encoder import encode_audio_store, encode_image_store
from ecmf.encoding.text_views import encode_transcripts
from ecmf.enrichment.clip_texts import enrich_stores
from ecmf.errors import ParamsError
from ecmf.params import BRANCHES, STAGE_OF_BRANCH, Branch, Choice
from ecmf.training.model_metadata import ModelMetadata
from ecmf.transcription.clip_transcripts import transcribe_clips

IMPORTED = "imported"
"""Encoder that looks clips up in a file."""


class ExtractedFeatures(NamedTuple):
    """The store of each source, and the state of every clip in it and in the stores before it.

    `texts` are the records of the clips' words, by clip id.
    """

    paths: dict[str, Path]
    states: States
    texts: Mapping[str, EnrichedText]

    def reasons(self, store: str, *states: str) -> dict[str, str]:
        """Return the reason of each clip that is in one of the states in a store."""
        return {clip_id: why for clip_id, state, why in self.states[store] if state in states}


@dataclass(frozen=True)
class FeatureExtractor:
    """Run the stages that a model's features come from.

    Raises:
        ParamsError: features of the model were imported, or are standardised by the speakers of
            clips without one.
    """

    metadata: ModelMetadata

    def __call__(self, clips: Sequence[Clip], folder: Path) -> ExtractedFeatures:
        """Write the stores of these clips into `folder`."""
        self._check(clips)
        stages = self.metadata.preparation
        frames, audio, faces = (folder / f"{name}.h5" for name in ("frames", "audio", "faces"))
        decode_clips(clips, frames, audio, stages.decode_video)
        crop_clips(clips, frames, faces, stages.crop_faces)
        features, text = folder / "features", folder / "text.jsonl"
        texts: list[EnrichedText] = []  # a model without a source of text reads none
        encoders: Mapping[Branch, tuple[Callable[..., None], Path]] = {
            "frame": (encode_image_store, frames),
            "face": (encode_image_store, faces),
            "audio": (encode_audio_store, audio),
            "text": (encode_transcripts, text),
        }
        for branch, (encode, store) in encoders.items():
            choices = list(self._choices(branch))
            if branch == "text" and choices:  # enriched with what was measured of voice and face
                texts = self._enrich(clips, audio, faces, features / "face")
                write_texts(texts, text)
            budget = getattr(stages, STAGE_OF_BRANCH[branch]).error_budget
            for name, choice in choices:
                path = features / branch / f"{name}.h5"
                encode(f"{branch}/{name}", choice, store, path, budget)
        stores = {"frames": frames, "audio": audio, "faces": faces}
        paths = {source.name: features / f"{source.name}.h5" for source in self.metadata.sources}
        return ExtractedFeatures(
            paths,
            read_states(stores | paths, texts),
            {record.clip_id: record for record in texts},
        )

    def _enrich(
        self, clips: Sequence[Clip], audio: Path, faces: Path, face_features: Path
    ) -> list[EnrichedText]:
        stages = self.metadata.preparation
        return enrich_stores(
            clips,
            transcribe_clips(clips, audio, stages.transcribe_speech),
            self.metadata.outputs,
            audio,
            faces,
            face_features,
            stages.enrich_text,
            self.metadata.voice_thresholds,
        )

    def _choices(self, branch: Branch) -> Iterator[tuple[str, Choice]]:
        """Yield the encoders of the sources, and that of action units."""
        stages = self.metadata.preparation
        names = [source.name.partition("/") for source in self.metadata.sources]
        wanted = {name for of_branch, _, name in names if of_branch == branch}
        if branch == "face" and stages.enrich_text.action_units:
            wanted.add(stages.enrich_text.action_units)
        table = getattr(stages, STAGE_OF_BRANCH[branch]).encoders
        yield from ((name, choice) for name, choice in table.items() if name in wanted)

    def _check(self, clips: Sequence[Clip]) -> None:
        imported = [
            f"{STAGE_OF_BRANCH[branch]}.encoders.{name}"
            for branch in BRANCHES
            for name, choice in self._choices(branch)
            if choice.encoder == IMPORTED
        ]
        if imported:
            raise ParamsError(
                f"the model reads features that were imported from a file ({', '.join(imported)}), "
                "which has none of other clips: train a model without these encoders"
            )
        anonymous = [clip.clip_id for clip in clips if not clip.speaker]
        if self.metadata.training.standardise == "speaker" and anonymous:
            raise ParamsError(
                "the model standardises features over the clips of each speaker "
                f"(train_fusion.standardise: speaker), but {len(anonymous)} clips have no speaker, "
                f"e.g. {anonymous[0]!r}: give a manifest or a clips.csv that names the speaker of "
                "every clip"
            )
