"""Write videos in which every frame shows its number, so that a test can identify frames."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

BITS = 8
FRAMES_PER_SECOND = 25
TICK = Fraction(1, FRAMES_PER_SECOND)


def numbered(number: int, width: int = 320, height: int = 240) -> NDArray[np.uint8]:
    """Return an image with `number` as vertical stripes, least significant bit left."""
    bits = [number >> bit & 1 for bit in range(BITS)]
    stripes = np.where(bits, 200, 30)[np.arange(width) * BITS // width]
    picture = np.repeat(np.tile(stripes, (height, 1))[..., None], 3, axis=2)
    picture[: height // 4] = 230
    picture[-height // 4 :] = 90
    return picture.astype("uint8")


def number_of(picture: NDArray[np.uint8]) -> int:
    height, width = picture.shape[:2]
    middles = [(2 * bit + 1) * width // (2 * BITS) for bit in range(BITS)]
    return sum(int(picture[height // 2, x].mean() > 115) << bit for bit, x in enumerate(middles))


def tone(seconds: float, rate: int = 16_000, hertz: float = 440.0) -> NDArray[np.int16]:
    return (8000 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(
        "int16"
    )


def film(
    path: Path,
    frames: int = 50,
    *,
    width: int = 320,
    height: int = 240,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    stamps: Sequence[int] | None = None,
    b_frames: int = 2,
    group: int = 12,
    sound: NDArray[np.int16] | None = None,
    rate: int = 16_000,
    sound_codec: str = "aac",
    container: dict[str, str] | None = None,
    images: Sequence[NDArray[np.uint8]] | None = None,
) -> Path:
    """Write numbered frames and `sound` (channels, samples); `stamps` are in 25ths of a second.

    `images` of one size are written in place of numbered frames.
    """
    if images is not None:
        frames, (height, width) = len(images), images[0].shape[:2]
    index_first = {"movflags": "faststart"} if path.suffix in (".mp4", ".mov") else {}
    with av.open(path, "w", options=container or index_first) as out:
        voice: Any = None
        if frames:
            video: Any = out.add_stream(codec, rate=FRAMES_PER_SECOND)
            video.width, video.height, video.pix_fmt = width, height, pixels
            video.codec_context.time_base = TICK
            video.codec_context.gop_size, video.codec_context.max_b_frames = group, b_frames
        if sound is not None:
            layout = "mono" if len(sound) == 1 else "stereo"
            voice = out.add_stream(sound_codec, rate=rate, layout=layout)
        for number in range(frames):
            image = numbered(number, width, height) if images is None else images[number]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts = number if stamps is None else stamps[number]
            frame.time_base = TICK
            out.mux(video.encode(frame))
        if frames:
            out.mux(video.encode(None))
        if sound is not None:
            packed = np.ascontiguousarray(sound.T).reshape(1, -1)
            audio = av.AudioFrame.from_ndarray(packed, format="s16", layout=layout)
            audio.sample_rate = rate
            audio.pts = 0
            out.mux(voice.encode(audio))
            out.mux(voice.encode(None))
    return path


def film_lossless(path: Path, images: Sequence[NDArray[np.uint8]]) -> Path:
    """Write the images to a file (.mkv) whose frames are exactly these."""
    return film(path, images=images, codec="ffv1", pixels="bgr0", b_frames=0)


def remux(
    source: Path,
    target: Path,
    change: Callable[[Any, Any], None] = lambda packet, stream: None,
    container: dict[str, str] | None = None,
    rotation: int = 0,
) -> Path:
    """Copy the packets of a video, altered by `change`, with a display rotation in degrees."""
    with av.open(source) as original, av.open(target, "w", options=container or {}) as out:
        stream = out.add_stream_from_template(original.streams.video[0])
        if rotation:
            stream.set_display_rotation(rotation)
        for packet in original.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                change(packet, stream)
                out.mux(packet)
    return target


def cut(source: Path, target: Path, share: float = 0.5) -> Path:
    """Copy the first `share` of the bytes."""
    content = source.read_bytes()
    target.write_bytes(content[: int(len(content) * share)])
    return target


def scribbled(source: Path, target: Path, at: float = 0.5, count: int = 1500) -> Path:
    """Copy the file with noise over `count` bytes in it."""
    content = bytearray(source.read_bytes())
    begin = int(len(content) * at)
    content[begin : begin + count] = np.random.default_rng(0).bytes(count)
    target.write_bytes(content)
    return target
