"""Build the rows of the clip browser, within a budget of bytes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecmf.data.enriched_text import EnrichedText
from ecmf.data.label_table import Label
from ecmf.data.transcripts import GIVEN
from ecmf.refinement.uncertain_clips import UncertainClip
from ecmf.reporting.clip_choice import choose_clips
from ecmf.reporting.clip_links import clip_links
from ecmf.reporting.clip_pictures import picture_strip, pitch, waveform
from ecmf.reporting.results import Results
from ecmf.storage.store import Store

PICTURE_BYTES, ROW_BYTES = 2_800_000, 1_700_000
"""Budget of all pictures and waveforms, and of all rows without them, as they are written."""

LONGEST_TEXT = 400
"""Characters of a transcript, of all cues and of a reason; the rest is cut."""

Row = dict[str, Any]


@dataclass(frozen=True)
class ClipSources:
    """Outputs of the pipeline about the clips.

    `labels` and `texts` are in manifest order, `voters` are the names of the label sources,
    `uncertain` are the clips with several votes, and `missing` is what each clip lacks, by id.
    `folder` is the page's, from which files of clips are linked; None links none.
    """

    labels: Sequence[Label]
    texts: Sequence[EnrichedText]
    voters: Sequence[str]
    uncertain: Sequence[UncertainClip]
    missing: Mapping[str, Sequence[str]]
    frames: Store
    faces: Store
    audio: Store
    folder: Path | None


@dataclass(frozen=True)
class Browser:
    """The rows of the browser: all clips shown, those with pictures first.

    `links` says whether they link the files of the clips.
    """

    rows: Sequence[Row]
    clips: int
    pictured: int
    links: bool

    @property
    def left_out(self) -> int:
        """Number of clips that the budget leaves no row for."""
        return self.clips - len(self.rows)


def browser(results: Results, sources: ClipSources) -> Browser:
    """Build a row per clip, in the order of `choose_clips`, as far as the budgets go."""
    votes = {uncertain.clip.clip_id: uncertain for uncertain in sources.uncertain}
    doubt = {clip_id: uncertain.entropy for clip_id, uncertain in votes.items()}
    chosen, others = choose_clips(results, doubt)
    tested = set(results.test.tolist())
    rows: list[Row] = []
    row_bytes = picture_bytes = pictured = 0
    full = False
    for i in [*chosen, *others]:
        row = _row(results, sources, votes, i) | ({"tested": 1} if i in tested else {})
        row_bytes += written_bytes(row)
        if row_bytes > ROW_BYTES:
            break
        if len(rows) < len(chosen) and not full:
            pictures = _pictures(results.clips[i].clip_id, sources)
            picture_bytes += written_bytes(pictures)
            full = picture_bytes > PICTURE_BYTES
            if not full:
                row |= pictures
                pictured += bool(pictures)
        rows.append(row)
    return Browser(rows, len(results.clips), pictured, sources.folder is not None)


def written_bytes(content: object) -> int:
    """Count the bytes of JSON in which `<`, `>`, `&` and `'` are escaped, as jinja2 writes it."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    escaped = sum(map(text.count, "<>&'"))
    return len(text.encode()) + 5 * escaped + 1


def _pictures(clip_id: str, sources: ClipSources) -> Row:
    strip = picture_strip(clip_id, sources.frames, sources.faces)
    samples = np.asarray(sources.audio[clip_id].values)
    digits, hertz = pitch(samples)
    pictures = {"strip": strip, "wave": waveform(samples), "pitch": digits, "hertz": hertz}
    return {key: value for key, value in pictures.items() if value}


def _row(results: Results, sources: ClipSources, votes: Mapping[str, UncertainClip], i: int) -> Row:
    """Build the row of the clip at position `i`, without what it does not have.

    `probs` are in thousandths; a vote is a label source and its probabilities in hundredths.
    """
    clip, label, text = results.clips[i], sources.labels[i], sources.texts[i]
    probs = results.probs[i]
    row: Row = {
        "id": clip.clip_id,
        "split": clip.split,
        "speaker": clip.speaker,
        "language": clip.language,
        "label": clip.label,
        "learned": label.label if label.label != clip.label else "",
        "decision": label.decision,
        "reason": _cut(label.reason),
        "predicted": results.classes[results.predicted[i]] if results.predicted[i] >= 0 else "",
        "probs": [] if np.isnan(probs).any() else [round(1000 * p) for p in probs.tolist()],
        "text": _cut(clip.transcript),
        "transcriber": text.transcriber if text.transcriber != GIVEN else "",
        "cues": _cut("; ".join([*text.cues, *text.facts])),
        "missing": list(sources.missing[clip.clip_id]),
    }
    if sources.folder is not None:
        row |= clip_links(clip, sources.folder)
    if uncertain := votes.get(clip.clip_id):
        row["doubt"] = round(uncertain.entropy, 3)
        row["votes"] = [
            [sources.voters.index(name), [round(100 * p) for p in probs.tolist()]]
            for name, probs in uncertain.votes.items()
        ]
    return {key: value for key, value in row.items() if value not in ("", [])}


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"
