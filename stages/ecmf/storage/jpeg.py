"""Encode, decode and downscale images. OpenCV's BGR order stays inside this file."""

import cv2
import numpy as np

from ecmf.errors import ClipError
from ecmf.media import RGB


def encode_jpeg(image: RGB, quality: int) -> bytes:
    """Compress an image (height, width, 3) into a JPEG file; `quality` is 1 to 100.

    The same image and quality give the same bytes.
    """
    success, file = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    if not success:
        raise ValueError(f"OpenCV cannot encode an image of shape {image.shape} as JPEG")
    return file.tobytes()


def decode_jpeg(file: bytes) -> RGB:
    """Decode a JPEG file into an image (height, width, 3); raises ClipError if it is invalid."""
    image = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR) if file else None
    if image is None:
        raise ClipError(f"{len(file)} bytes are not a JPEG image: delete the store and run again")
    return _rgb(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def downscale(image: RGB, longest_side: int) -> RGB:
    """Resize so that the longer side is at most `longest_side` pixels; never enlarges."""
    height, width = image.shape[:2]
    ratio = longest_side / max(height, width)
    if ratio >= 1:
        return image
    size = max(1, round(width * ratio)), max(1, round(height * ratio))
    return _rgb(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def _rgb(image: object) -> RGB:
    return np.asarray(image, np.uint8)
