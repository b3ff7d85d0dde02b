"""Enrich the transcript of every clip with emotional cues and measured nonverbal cues."""

from pathlib import Path

from ecmf.cli import stage
from ecmf.data.enriched_text import write_texts
from ecmf.data.manifest import classes_of, read_manifest
from ecmf.data.transcripts import read_transcripts
from ecmf.enrichment.clip_texts import enrich_stores
from ecmf.params import EnrichText


def enrich_text(
    manifest: Path,
    transcripts: Path,
    audio: Path,
    faces: Path,
    face_features: Path,
    text: Path,
    params: EnrichText,
) -> None:
    """Measure nonverbal cues, then let the provider enrich the transcript of every clip."""
    clips = read_manifest(manifest)
    classes = classes_of(manifest, clips)
    records = read_transcripts(transcripts)
    texts = enrich_stores(clips, records, classes, audio, faces, face_features, params)
    write_texts(texts, text)


if __name__ == "__main__":
    stage.main(enrich_text)
