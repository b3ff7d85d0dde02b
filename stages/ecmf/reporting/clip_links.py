"""Link the files of a clip from the folder of the page, so that a browser plays them there."""

import os
from pathlib import Path
from urllib.parse import quote

from ecmf.data.manifest import Clip


def clip_links(clip: Clip, folder: Path) -> dict[str, str]:
    """Return the relative addresses of `video` and `audio`, as far as the clip has these files.

    A clip that is a piece of its files has the seconds in its addresses (W3C, Media Fragments).
    """
    piece = f"#t={clip.start or 0}{f',{clip.end}' if clip.end else ''}"
    fragment = piece if clip.start or clip.end else ""
    files = {"video": clip.video, "audio": clip.audio}
    return {
        kind: quote(Path(os.path.relpath(path, folder)).as_posix()) + fragment
        for kind, path in files.items()
        if path
    }
