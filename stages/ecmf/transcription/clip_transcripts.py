"""Transcribe the clips of a corpus that have no transcript, with one transcriber."""

from collections.abc import Sequence
from pathlib import Path

from ecmf import registry
from ecmf.data.manifest import Clip
from ecmf.data.transcripts import Transcript, given_transcript, has_transcript
from ecmf.execution.error_budget import check_budget
from ecmf.params import TranscribeSpeech
from ecmf.transcription.base import Transcriber

FAMILY = "transcribers"


def transcribe_clips(
    clips: Sequence[Clip], audio: Path, params: TranscribeSpeech
) -> list[Transcript]:
    """Return the transcript of every clip: that of the manifest, or else a recognised one.

    `audio` is the store of the waveforms; it is read only if a clip is to be transcribed.

    Raises:
        ErrorBudgetError: more clips failed than `params.error_budget` allows.
        ParamsError: options of the transcriber are wrong, or it is not installed.
    """
    transcriber: Transcriber = registry.build(
        FAMILY, "Transcriber", params.transcriber, params.chosen_options
    )
    without = [clip for clip in clips if not has_transcript(clip)]
    recognised = {record.clip_id: record for record in transcriber(without, audio)}
    failed = {
        record.clip_id: record.reason for record in recognised.values() if record.state == "failed"
    }
    check_budget(failed, len(clips), params.error_budget)
    return [recognised.get(clip.clip_id) or given_transcript(clip) for clip in clips]
