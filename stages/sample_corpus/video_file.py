"""Encode frames and audio as mp4, H.264 and AAC; equal content gives equal bytes.

libx264 is deterministic only with one thread and without macroblock-tree rate control, which reads
uninitialised memory. Container and codecs must not write versions or the time.
"""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
from av.codec.context import Flags

from ecmf.media import SAMPLE_RATE
from ecmf.storage.files import atomic_write
from sample_corpus.scene import HEIGHT, WIDTH, YUV
from sample_corpus.speech import Waveform

CONTAINER = {"movflags": "+faststart", "fflags": "+bitexact"}
VIDEO = {
    "preset": "superfast",
    "crf": "26",
    "threads": "1",
    "x264-params": "threads=1:lookahead-threads=1:sliced-threads=0:mbtree=0",
}
AUDIO = {"b": "48000", "aac_coder": "fast"}
SAMPLES_PER_AUDIO_FRAME = 1024


def write_video(
    path: Path, frames: Iterable[YUV], waveform: Waveform | None, frames_per_second: int
) -> None:
    """Write one clip atomically; without a waveform it has no audio track."""
    with (
        atomic_write(path) as part,
        av.open(part, "w", format="mp4", options=CONTAINER) as container,
    ):
        options = {**VIDEO, "g": str(frames_per_second)}  # a key frame every second
        video = container.add_stream("libx264", rate=frames_per_second, options=options)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.codec_context.thread_count = 1
        video.codec_context.flags |= Flags.bitexact
        audio = None
        if waveform is not None:
            audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono", options=AUDIO)
            audio.codec_context.flags |= Flags.bitexact
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, frames_per_second)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if waveform is not None and audio is not None:
            for start in range(0, len(waveform), SAMPLES_PER_AUDIO_FRAME):
                samples = waveform[None, start : start + SAMPLES_PER_AUDIO_FRAME]
                chunk = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
                chunk.sample_rate, chunk.pts = SAMPLE_RATE, start
                chunk.time_base = Fraction(1, SAMPLE_RATE)
                container.mux(audio.encode(chunk))
            container.mux(audio.encode())
