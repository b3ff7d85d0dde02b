"""Synthesise a list of sentences with espeak-ng (GPL-3), as a separate program.

Reads utterances as JSON from standard input. Writes one line of JSON, the sample rate and the
number of samples of each sentence, then all samples as little-endian 16-bit integers. To start
fast, it imports nothing of the project and no large package.
"""

import _ctypes
import array
import ctypes
import json
import sys
from typing import Any

import espeakng_loader

SYNCHRONOUS = 2
DO_NOT_EXIT = 0x8000
UTF_8 = 1
RATE, VOLUME, PITCH, PITCH_RANGE = 1, 2, 3, 4
SYNTH_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


def speak(text: str, variant: str, pitch: int, pitch_range: int, rate: int) -> tuple[int, bytes]:
    """Synthesise one sentence; return the sample rate and the 16-bit samples.

    The library is loaded and unloaded for each sentence, because espeak's state after a sentence
    changes the sound of the next.
    """
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    folder = espeakng_loader.get_data_path().encode()
    samples_per_second = library.espeak_Initialize(SYNCHRONOUS, 0, folder, DO_NOT_EXIT)
    if samples_per_second <= 0:
        raise RuntimeError(f"espeak_Initialize returned {samples_per_second}, not a sample rate")
    sound = array.array("h")

    def collect(samples: Any, count: int, _: Any) -> int:
        if samples and count > 0:
            sound.extend(samples[:count])
        return 0

    callback = SYNTH_CALLBACK(collect)
    library.espeak_SetSynthCallback(callback)
    if hasattr(library, "espeak_ng_SetRandSeed"):
        library.espeak_ng_SetRandSeed(ctypes.c_long(0))
    _check(library.espeak_SetVoiceByName(f"en-us+{variant}".encode()), f"voice {variant!r}")
    for number, value in ((RATE, rate), (VOLUME, 100), (PITCH, pitch), (PITCH_RANGE, pitch_range)):
        _check(library.espeak_SetParameter(number, value, 0), f"parameter {number} = {value}")
    encoded = text.encode()
    length = ctypes.c_size_t(len(encoded) + 1)
    _check(library.espeak_Synth(encoded, length, 0, 1, 0, UTF_8, None, None), repr(text))
    library.espeak_Synchronize()
    library.espeak_Terminate()
    _ctypes.dlclose(library._handle)
    if sys.byteorder == "big":
        sound.byteswap()
    return samples_per_second, sound.tobytes()


def _check(code: int, argument: str) -> None:
    if code:
        raise RuntimeError(f"espeak rejected {argument}: error {code}")


def main() -> None:
    """Read the sentences from standard input and write their samples to standard output."""
    sounds = [speak(**utterance) for utterance in json.load(sys.stdin)]
    header = {
        "samples_per_second": sounds[0][0] if sounds else 0,
        "samples": [len(sound) // 2 for _, sound in sounds],
    }
    sys.stdout.buffer.write(json.dumps(header).encode() + b"\n")
    for _, sound in sounds:
        sys.stdout.buffer.write(sound)


if __name__ == "__main__":
    main()
