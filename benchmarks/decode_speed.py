"""Compare the cost of decoding frames and audio of a clip with bare decoding of its video.

`python benchmarks/decode_speed.py [video files]`, from the project's root. The floor: PyAV decodes
every frame in one thread and converts none. One pass is what `decode_video` does with a decoder: it
reads the file once, for 16 upright RGB frames of at most 320 pixels on the longest side, and for
audio, one channel at 16 kHz. Opening, declared durations and checks are included; JPEG, the file's
SHA-256 and the store are not. Three passes are what the field's tools do, with the same code: they
read the file for the frames, again for the frames to crop faces from, and again for the audio. CPU
time of all threads, best of several alternating rounds.

It fails if one pass over H.264 with audio costs more than 1.5 floors, or three passes less than 1.6
times one. Other codecs are printed only: where decoding takes hardly any time, downscaling images
dominates (2 ms each if the sides are no whole multiple, see `jpeg.downscale`).
"""

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import av
import numpy as np
from support.cpu_time import best_cpu_seconds

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "stages"))

from ecmf import registry
from ecmf.decoding.base import Decoder
from ecmf.decoding.demuxer import open_media
from ecmf.params import DecodeVideo
from ecmf.storage.jpeg import downscale

ROUNDS, MAX_FLOORS, MIN_PASSES = 7, 1.5, 1.6
WIDTH, HEIGHT, SECONDS, FRAMES_PER_SECOND, SAMPLE_RATE = 1280, 720, 5, 25, 48_000


def write_video(path: Path) -> None:
    """Write 5 s of 720p H.264 and AAC: a moving texture with the spectrum of photographs.

    Amplitudes fall as 1 / frequency; camera noise makes every frame different.
    """
    rng = np.random.default_rng(0)
    shape = HEIGHT + 160, WIDTH + 160
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))
    frequency[0, 0] = np.inf
    layers = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((3, *shape))) / frequency, shape)
    colours = (layers[:1] + 0.2 * layers).transpose(1, 2, 0)
    texture = (118 + 45 * colours / colours.std()).clip(8, 247).astype("int16")
    turns = 2 * np.pi * np.arange(SECONDS * SAMPLE_RATE) / SAMPLE_RATE
    voice = sum(np.sin(140 * n * turns) / n for n in range(1, 20)) * (1 + np.sin(4 * turns)) * 3000
    with av.open(path, "w") as out:
        video = out.add_stream("libx264", rate=FRAMES_PER_SECOND)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.options = {"crf": "23", "g": "50"}
        audio = out.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")
        for number in range(SECONDS * FRAMES_PER_SECOND):
            x, y = (int(80 + 75 * np.sin(number / pace)) for pace in (9, 13))
            noise = rng.integers(-2, 3, (HEIGHT, WIDTH, 1), "int16")
            image = texture[y : y + HEIGHT, x : x + WIDTH] + noise
            out.mux(video.encode(av.VideoFrame.from_ndarray(image.astype("uint8"), format="rgb24")))
        samples = np.repeat(voice.astype("int16"), 2)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
        frame.sample_rate, frame.pts = SAMPLE_RATE, 0
        out.mux([*video.encode(None), *audio.encode(frame), *audio.encode(None)])


def decode_bare(path: Path) -> None:
    """Decode every frame and convert none."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        sum(1 for _ in container.decode(stream))


def decode(path: Path, *passes: tuple[Decoder | None, bool]) -> None:
    """Read the file once for each of `passes`: for images, for audio, or for both."""
    params = DecodeVideo()
    for decoder, audio in passes:
        with open_media(path, video=decoder is not None, audio=audio) as media:
            video = media.video_stream()
            if decoder is not None and video is not None:
                decoder(video, params.frames, partial(downscale, longest_side=params.longest_side))
            media.audio_track()


def measure(path: Path) -> dict[str, float]:
    """Return the CPU seconds of the best round, by the name of a line."""
    timed: dict[str, Callable[[], None]] = {"floor": partial(decode_bare, path)}
    for name in registry.names("decoders"):
        decoder = registry.build("decoders", "Decoder", name, {})
        images, audio = (decoder, False), (None, True)
        timed[f"{name} once"] = partial(decode, path, (decoder, True))
        timed[f"{name} thrice"] = partial(decode, path, images, images, audio)
    return best_cpu_seconds(timed, ROUNDS)


def report(path: Path) -> bool:
    """Print the lines of a file; return whether the claims hold or do not apply."""
    with av.open(path) as container:
        codecs = [stream.codec_context.name for stream in container.streams]
    seconds = measure(path)
    print(f"\n{path.name}, {' and '.join(codecs)}: floor {seconds['floor'] * 1e3:.0f} ms of CPU")
    claimed = "h264" in codecs and len(codecs) > 1
    holds = True
    for name in registry.names("decoders"):
        floors = seconds[f"{name} once"] / seconds["floor"]
        times = seconds[f"{name} thrice"] / seconds[f"{name} once"]
        fine = floors <= MAX_FLOORS and times >= MIN_PASSES
        holds = holds and (fine or not claimed)
        verdict = f"holds: {fine}" if claimed else "no claim"
        print(f"  {name}, one pass: {floors:.2f} floors, three: {times:.2f} times that; {verdict}")
    return holds


def main(paths: list[str]) -> bool:
    """Report on a generated clip and on every file; return whether all claims hold."""
    with tempfile.TemporaryDirectory() as folder:
        write_video(generated := Path(folder) / "generated.mp4")
        verdicts = [report(path) for path in (generated, *map(Path, paths))]
    return all(verdicts)


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1:]) else 1)
