"""Transcribe the clips that have no transcript in the manifest."""

from pathlib import Path

from ecmf.cli import stage
from ecmf.data.manifest import read_manifest
from ecmf.data.transcripts import write_transcripts
from ecmf.params import TranscribeSpeech
from ecmf.transcription.clip_transcripts import transcribe_clips


def transcribe_speech(
    manifest: Path, audio: Path, transcripts: Path, params: TranscribeSpeech
) -> None:
    """Write the transcript of every clip: that of the manifest, or one recognised in its voice."""
    write_transcripts(transcribe_clips(read_manifest(manifest), audio, params), transcripts)


if __name__ == "__main__":
    stage.main(transcribe_speech)
