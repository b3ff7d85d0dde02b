"""Decoding: what the frames and the sound of a clip cost beside the bare decoding of its video.

`python benchmarks/decode_speed.py [video files]`, from the project's root. The floor: PyAV decodes
every frame in one thread and converts none. One pass is what `decode_video` does with a decoder:
the file is read once, for 16 frames, upright, RGB, at most 320 pixels wide or high, and for the
sound, one channel at 16 kHz. Opening, claims and checks are counted; JPEG, the file's SHA-256 and
the store are not. Three passes are what the field's tools do, with the same code: the file is read
for the frames, again for the frames faces are cropped from, and again for the sound. CPU time of
all threads, best of several rounds in which every line has its turn.

It fails where one pass over H.264 with sound costs more than 1.5 floors, or three passes less than
1.6 times one. Other codecs are shown only: beside one that decodes in no time, shrinking pictures
(2 ms each where the sides are no whole multiple, see `pictures.shrink`) is the greater part.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import av
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "stages"))

from ecmf import registry
from ecmf.decoding.base import Decoder
from ecmf.decoding.demuxer import opened
from ecmf.params import DecodeVideo

ROUNDS, MOST_FLOORS, LEAST_PASSES = 7, 1.5, 1.6
WIDTH, HEIGHT, SECONDS, FRAMES_PER_SECOND, SAMPLES_PER_SECOND = 1280, 720, 5, 25, 48_000


def film(path: Path) -> None:
    """Write 5 s of 720p H.264 and AAC: a texture with the spectrum of photographs moves and hums.

    Amplitudes fall as 1 / frequency; the noise of a camera makes every frame another one.
    """
    rng = np.random.default_rng(0)
    shape = HEIGHT + 160, WIDTH + 160
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))
    frequency[0, 0] = np.inf
    layers = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((3, *shape))) / frequency, shape)
    colours = (layers[:1] + 0.2 * layers).transpose(1, 2, 0)
    texture = (118 + 45 * colours / colours.std()).clip(8, 247).astype("int16")
    turns = 2 * np.pi * np.arange(SECONDS * SAMPLES_PER_SECOND) / SAMPLES_PER_SECOND
    voice = sum(np.sin(140 * n * turns) / n for n in range(1, 20)) * (1 + np.sin(4 * turns)) * 3000
    with av.open(path, "w") as out:
        video = out.add_stream("libx264", rate=FRAMES_PER_SECOND)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.options = {"crf": "23", "g": "50"}
        sound = out.add_stream("aac", rate=SAMPLES_PER_SECOND, layout="stereo")
        for number in range(SECONDS * FRAMES_PER_SECOND):
            x, y = (int(80 + 75 * np.sin(number / pace)) for pace in (9, 13))
            noise = rng.integers(-2, 3, (HEIGHT, WIDTH, 1), "int16")
            seen = texture[y : y + HEIGHT, x : x + WIDTH] + noise
            out.mux(video.encode(av.VideoFrame.from_ndarray(seen.astype("uint8"), format="rgb24")))
        samples = np.repeat(voice.astype("int16"), 2)[None]
        heard = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
        heard.sample_rate, heard.pts = SAMPLES_PER_SECOND, 0
        out.mux([*video.encode(None), *sound.encode(heard), *sound.encode(None)])


def floor(path: Path) -> None:
    """Decode every frame, convert none."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        sum(1 for _ in container.decode(stream))


def decode(path: Path, *passes: tuple[Decoder | None, bool]) -> None:
    """Read the file once for each of `passes`: for pictures, for sound, or for both."""
    params = DecodeVideo()
    for decoder, sound in passes:
        with opened(path, video=decoder is not None, sound=sound) as recording:
            reel = recording.reel()
            if decoder is not None and reel is not None:
                decoder(reel, params.frames, params.longest_side)
            recording.track()


def measure(path: Path) -> dict[str, float]:
    """Name of a line -> CPU seconds of the best round."""
    timed: dict[str, Callable[[], None]] = {"floor": partial(floor, path)}
    for name in registry.names("decoders"):
        decoder = registry.create("decoders", "Decoder", name, {})
        seen, heard = (decoder, False), (None, True)
        timed[f"{name} once"] = partial(decode, path, (decoder, True))
        timed[f"{name} thrice"] = partial(decode, path, seen, seen, heard)
    fastest = dict.fromkeys(timed, float("inf"))
    for name, run in [*timed.items()] * ROUNDS:
        begin = time.process_time()
        run()
        fastest[name] = min(fastest[name], time.process_time() - begin)
    return fastest


def report(path: Path) -> bool:
    """Print the lines of a file; returns whether they hold, or are not judged."""
    with av.open(path) as container:
        codecs = [stream.codec_context.name for stream in container.streams]
    spent = measure(path)
    print(f"\n{path.name}, {' and '.join(codecs)}: floor {spent['floor'] * 1e3:.0f} ms of CPU")
    judged = "h264" in codecs and len(codecs) > 1
    holds = True
    for name in registry.names("decoders"):
        floors = spent[f"{name} once"] / spent["floor"]
        times = spent[f"{name} thrice"] / spent[f"{name} once"]
        fine = floors <= MOST_FLOORS and times >= LEAST_PASSES
        holds = holds and (fine or not judged)
        verdict = f"holds: {fine}" if judged else "not judged"
        print(f"  {name}, one pass: {floors:.2f} floors, three: {times:.2f} times that; {verdict}")
    return holds


def main(paths: list[str]) -> bool:
    """Report on the made clip and on every file; returns whether all that is judged holds."""
    with tempfile.TemporaryDirectory() as folder:
        film(made := Path(folder) / "made.mp4")
        verdicts = [report(path) for path in (made, *map(Path, paths))]
    return all(verdicts)


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1:]) else 1)
