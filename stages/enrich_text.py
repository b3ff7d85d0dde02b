"""Enrich the transcript of every clip with emotional cues and measured nonverbal cues."""

from pathlib import Path

from ecmf.cli import stage
from ecmf.data.enriched_text import write_texts
from ecmf.data.manifest import classes_of, read_manifest
from ecmf.enrichment.clip_cues import ClipCues, measure_cues
from ecmf.enrichment.clip_texts import build_provider, check_transcripts, enrich_clips
from ecmf.params import EnrichText


def enrich_text(
    manifest: Path, audio: Path, faces: Path, face_features: Path, text: Path, params: EnrichText
) -> None:
    """Measure nonverbal cues, then let the provider enrich the transcript of every clip."""
    provider = build_provider(params)  # wrong options stop the stage before it measures
    clips = read_manifest(manifest)
    check_transcripts(params.provider, clips)
    cues = ClipCues()
    if params.facts:
        units = face_features / f"{params.action_units}.h5" if params.action_units else None
        cues = measure_cues(clips, audio, faces, units, params.error_budget)
    texts = enrich_clips(provider, clips, classes_of(manifest, clips), cues, params)
    write_texts(texts, text)


if __name__ == "__main__":
    stage.main(enrich_text)
