"""Collect the utterances that precede each clip in its dialogue."""

from collections.abc import Sequence

from ecmf.data.enriched_text import Utterance
from ecmf.data.manifest import Clip


def preceding_utterances(clips: Sequence[Clip], limit: int) -> dict[str, tuple[Utterance, ...]]:
    """Return up to `limit` preceding utterances of each clip's dialogue by clip id, latest last.

    Clips without a transcript are skipped. Utterances of all splits are used, since transcripts
    hold no labels.
    """
    dialogues: dict[str, list[Utterance]] = {}
    contexts = {}
    for clip in clips:
        utterances = dialogues.setdefault(clip.dialogue, [])
        contexts[clip.clip_id] = tuple(utterances[-limit:]) if clip.dialogue and limit else ()
        if clip.transcript.strip():
            utterances.append(Utterance(speaker=clip.speaker, text=clip.transcript))
    return contexts
