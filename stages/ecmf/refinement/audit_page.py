"""Render the disagreement page: the most uncertain clips with frames, transcript and all votes.

The page loads nothing from the web and has no script; equal inputs give equal bytes. Texts of clips
are untrusted and are escaped.
"""

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ecmf.data.label_table import Label
from ecmf.data.manifest import Clip
from ecmf.refinement.base import SourceVotes
from ecmf.storage.jpeg import decode_jpeg, encode_jpeg
from ecmf.storage.store import Store

THUMBNAIL_PIXELS, JPEG_QUALITY = 128, 80
"""Longest side of a thumbnail, and its quality."""

STYLE = """
body{font:14px/1.4 system-ui,sans-serif;margin:2em;color:#222;max-width:72em}
article{border-top:1px solid #ccc;padding:1em 0}h2{font-size:1.05em;margin:0 0 .4em}
img{margin-right:4px;vertical-align:top}blockquote{margin:.5em 0;color:#555}
table{border-collapse:collapse}td,th{padding:.1em .6em;text-align:left;font-weight:normal}
td.n{text-align:right;font-variant-numeric:tabular-nums}th{color:#777}
"""


@dataclass(frozen=True)
class UncertainClip:
    """A clip with its label and each source's probabilities (classes,); `entropy` is in nats."""

    clip: Clip
    label: Label
    votes: Mapping[str, np.ndarray]
    entropy: float


def most_uncertain_clips(
    clips: Sequence[Clip],
    labels: Sequence[Label],
    clip_ids: Sequence[str],
    sources: Mapping[str, SourceVotes],
    count: int,
) -> list[UncertainClip]:
    """Return the `count` clips with the most uncertain votes, the most uncertain first.

    Uncertainty is the entropy of the mean of all votes on a clip. Clips with a single vote are left
    out.
    """
    clip_of = {clip.clip_id: clip for clip in clips}
    label_of = {label.clip_id: label for label in labels}
    uncertain = []
    for row, clip_id in enumerate(clip_ids):
        votes = {name: s.probs[row] for name, s in sources.items() if s.has_vote[row]}
        if len(votes) < 2:
            continue
        mean = np.mean(list(votes.values()), axis=0)
        entropy = float(-(mean * np.log(np.maximum(mean, 1e-12))).sum())
        uncertain.append(UncertainClip(clip_of[clip_id], label_of[clip_id], votes, entropy))
    return sorted(uncertain, key=lambda u: (-round(u.entropy, 9), u.clip.clip_id))[:count]


def render_page(
    uncertain: Sequence[UncertainClip], classes: Sequence[str], frames: Store, thumbnails: int
) -> str:
    """Render the clips as HTML, each with up to `thumbnails` of its frames."""
    body = "\n".join(_article(clip, classes, frames, thumbnails) for clip in uncertain)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>Labels in doubt</title><style>{STYLE}</style></head><body>\n"
        f"<h1>{len(uncertain)} labels in most doubt</h1>\n"
        "<p>Doubt is the entropy of the mean of all sources. Bold: what the clip is learned as."
        f"</p>\n{body}\n</body></html>\n"
    )


def _article(
    uncertain: UncertainClip, classes: Sequence[str], frames: Store, thumbnails: int
) -> str:
    label, clip = uncertain.label, uncertain.clip
    given = clip.label if "given" in uncertain.votes else ""
    title = f"{clip.clip_id}: {f'given {given}' if given else 'no label'}, {label.decision}"
    if label.label and label.label != given:
        title += f" as {label.label}"
    text = f"<blockquote>{html.escape(clip.transcript)}</blockquote>" if clip.transcript else ""
    header = "".join(f"<th>{html.escape(name)}</th>" for name in classes)
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th>{_cells(probs, classes, label.label)}</tr>"
        for name, probs in uncertain.votes.items()
    )
    return (
        f"<article><h2>{html.escape(title)}</h2>\n"
        f"<p>{_thumbnails(frames, clip.clip_id, thumbnails)}</p>{text}\n"
        f"<p>{html.escape(label.reason)} (weight {label.weight:g}, doubt {uncertain.entropy:.2f})"
        f"</p>\n<table><tr><th></th>{header}</tr>{rows}</table></article>"
    )


def _cells(probs: np.ndarray, classes: Sequence[str], label: str) -> str:
    cells = []
    for probability, name in zip(probs, classes, strict=True):
        shade = f"background:rgba(40,110,200,{0.75 * probability:.2f})"
        number = f"{probability:.2f}"
        text = f"<b>{number}</b>" if name == label else number
        cells.append(f'<td class="n" style="{shade}">{text}</td>')
    return "".join(cells)


def _thumbnails(frames: Store, clip_id: str, max_count: int) -> str:
    rows = frames[clip_id].values
    count = min(max_count, len(rows))
    if not count:
        return f"no frames: {html.escape(frames.state(clip_id)[1] or 'none wanted')}"
    chosen = np.linspace(0, len(rows) - 1, count).round().astype(int)
    return "".join(_image(bytes(rows[i])) for i in chosen)


def _image(jpeg: bytes) -> str:
    frame = decode_jpeg(jpeg)
    scale = THUMBNAIL_PIXELS / max(frame.shape[:2])
    small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    data = base64.b64encode(encode_jpeg(np.asarray(small), JPEG_QUALITY)).decode()
    height, width = small.shape[:2]
    return f'<img alt="" width="{width}" height="{height}" src="data:image/jpeg;base64,{data}">'
