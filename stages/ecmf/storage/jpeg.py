"""Pictures as JPEG files, and made smaller. Red comes first everywhere outside this file."""

import cv2
import numpy as np

from ecmf.errors import ClipError
from ecmf.media import RGB


def encode_jpeg(picture: RGB, quality: int) -> bytes:
    """Compress a picture (height, width, 3) into a JPEG file; `quality` is 1 to 100.

    The same picture and quality give the same bytes.
    """
    fine, file = cv2.imencode(
        ".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    if not fine:
        raise ValueError(f"OpenCV cannot write a picture of shape {picture.shape} as JPEG")
    return file.tobytes()


def decode_jpeg(file: bytes) -> RGB:
    """Read the picture (height, width, 3) of a JPEG file; raises ClipError if it is none."""
    picture = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR) if file else None
    if picture is None:
        raise ClipError(f"{len(file)} bytes that are no JPEG picture: make the store anew")
    return _rgb(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))


def shrink(picture: RGB, longest_side: int) -> RGB:
    """Make the longer side at most `longest_side` pixels, by area; never enlarges."""
    height, width = picture.shape[:2]
    ratio = longest_side / max(height, width)
    if ratio >= 1:
        return picture
    size = max(1, round(width * ratio)), max(1, round(height * ratio))
    return _rgb(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def _rgb(picture: object) -> RGB:
    return np.asarray(picture, np.uint8)
