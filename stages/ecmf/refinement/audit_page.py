"""The clips most in doubt, as one page for the eye: frames, what was said, what every source held.

The page needs nothing from the web and holds no script; the same inputs make the same bytes. Texts
of clips are untrusted and are escaped.
"""

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ecmf.data.label_table import Label
from ecmf.data.manifest import Clip
from ecmf.refinement.base import Opinion
from ecmf.storage.jpeg import decode_jpeg, encode_jpeg
from ecmf.storage.store import Store

EDGE, JPEG_QUALITY = 128, 80
"""Longest side of a thumbnail in pixels, and its quality."""

STYLE = """
body{font:14px/1.4 system-ui,sans-serif;margin:2em;color:#222;max-width:72em}
article{border-top:1px solid #ccc;padding:1em 0}h2{font-size:1.05em;margin:0 0 .4em}
img{margin-right:4px;vertical-align:top}blockquote{margin:.5em 0;color:#555}
table{border-collapse:collapse}td,th{padding:.1em .6em;text-align:left;font-weight:normal}
td.n{text-align:right;font-variant-numeric:tabular-nums}th{color:#777}
"""


@dataclass(frozen=True)
class Contested:
    """A clip in doubt: what the manifest says of it, its decision, and what every source held."""

    clip: Clip
    label: Label
    opinions: Mapping[str, np.ndarray]
    doubt: float


def most_contested(
    clips: Sequence[Clip],
    labels: Sequence[Label],
    clip_ids: Sequence[str],
    opinions: Mapping[str, Opinion],
    most: int,
) -> list[Contested]:
    """Return the `most` clips whose sources differ most, those in most doubt first.

    Doubt is the entropy of the mean over the sources that speak of a clip, in nats; a clip that one
    source alone speaks of is in none.
    """
    clip_of = {clip.clip_id: clip for clip in clips}
    label_of = {label.clip_id: label for label in labels}
    found = []
    for row, clip_id in enumerate(clip_ids):
        said = {name: one.shares[row] for name, one in opinions.items() if one.speaks[row]}
        if len(said) < 2:
            continue
        mean = np.mean(list(said.values()), axis=0)
        doubt = float(-(mean * np.log(np.maximum(mean, 1e-12))).sum())
        found.append(Contested(clip_of[clip_id], label_of[clip_id], said, doubt))
    return sorted(found, key=lambda one: (-round(one.doubt, 9), one.clip.clip_id))[:most]


def page(
    contested: Sequence[Contested], classes: Sequence[str], frames: Store, pictures: int
) -> str:
    """Lay the clips out, each with up to `pictures` of its frames."""
    body = "\n".join(_article(one, classes, frames, pictures) for one in contested)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>Labels in doubt</title><style>{STYLE}</style></head><body>\n"
        f"<h1>{len(contested)} labels in most doubt</h1>\n"
        "<p>Doubt is the entropy of the mean of all sources. Bold: what the clip is learned as."
        f"</p>\n{body}\n</body></html>\n"
    )


def _article(one: Contested, classes: Sequence[str], frames: Store, pictures: int) -> str:
    label, clip = one.label, one.clip
    given = clip.label if "given" in one.opinions else ""
    title = f"{clip.clip_id}: {f'given {given}' if given else 'no label'}, {label.decision}"
    if label.label and label.label != given:
        title += f" as {label.label}"
    said = f"<blockquote>{html.escape(clip.transcript)}</blockquote>" if clip.transcript else ""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in classes)
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th>{_cells(shares, classes, label.label)}</tr>"
        for name, shares in one.opinions.items()
    )
    return (
        f"<article><h2>{html.escape(title)}</h2>\n"
        f"<p>{_thumbnails(frames, clip.clip_id, pictures)}</p>{said}\n"
        f"<p>{html.escape(label.reason)} (weight {label.weight:g}, doubt {one.doubt:.2f})</p>\n"
        f"<table><tr><th></th>{head}</tr>{rows}</table></article>"
    )


def _cells(shares: np.ndarray, classes: Sequence[str], learned: str) -> str:
    cells = []
    for share, name in zip(shares, classes, strict=True):
        shade = f"background:rgba(40,110,200,{0.75 * share:.2f})"
        number = f"{share:.2f}"
        shown = f"<b>{number}</b>" if name == learned else number
        cells.append(f'<td class="n" style="{shade}">{shown}</td>')
    return "".join(cells)


def _thumbnails(frames: Store, clip_id: str, pictures: int) -> str:
    rows = frames[clip_id].values
    count = min(pictures, len(rows))
    if not count:
        return f"no frames: {html.escape(frames.state(clip_id)[1] or 'none wanted')}"
    chosen = np.linspace(0, len(rows) - 1, count).round().astype(int)
    return "".join(_image(bytes(rows[i])) for i in chosen)


def _image(jpeg: bytes) -> str:
    picture = decode_jpeg(jpeg)
    scale = EDGE / max(picture.shape[:2])
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    data = base64.b64encode(encode_jpeg(np.asarray(small), JPEG_QUALITY)).decode()
    height, width = small.shape[:2]
    return f'<img alt="" width="{width}" height="{height}" src="data:image/jpeg;base64,{data}">'
