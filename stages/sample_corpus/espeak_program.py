"""The program that loads espeak-ng (GPL-3): a list of sentences in, samples out.

Reads utterances as JSON from standard input. Writes one line of JSON, the rate and the number of
samples of each sentence, then all samples as 16-bit integers, the low byte first. It imports
nothing of the project and nothing large, so that it starts at once.
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
HEARD = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


def say(text: str, variant: str, pitch: int, pitch_range: int, rate: int) -> tuple[int, bytes]:
    """Say one sentence: samples per second, 16-bit samples.

    espeak keeps something of every sentence: the same one sounds different after another one. So
    the library is loaded, used once and unloaded.
    """
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    folder = espeakng_loader.get_data_path().encode()
    samples_per_second = library.espeak_Initialize(SYNCHRONOUS, 0, folder, DO_NOT_EXIT)
    if samples_per_second <= 0:
        raise RuntimeError(f"espeak_Initialize answered {samples_per_second}")
    sound = array.array("h")

    def hear(samples: Any, count: int, _: Any) -> int:
        if samples and count > 0:
            sound.extend(samples[:count])
        return 0

    heard = HEARD(hear)
    library.espeak_SetSynthCallback(heard)
    if hasattr(library, "espeak_ng_SetRandSeed"):
        library.espeak_ng_SetRandSeed(ctypes.c_long(0))
    _check(library.espeak_SetVoiceByName(f"en-us+{variant}".encode()), f"voice {variant!r}")
    for number, value in ((RATE, rate), (VOLUME, 100), (PITCH, pitch), (PITCH_RANGE, pitch_range)):
        _check(library.espeak_SetParameter(number, value, 0), f"parameter {number} = {value}")
    letters = text.encode()
    length = ctypes.c_size_t(len(letters) + 1)
    _check(library.espeak_Synth(letters, length, 0, 1, 0, UTF_8, None, None), repr(text))
    library.espeak_Synchronize()
    library.espeak_Terminate()
    _ctypes.dlclose(library._handle)
    if sys.byteorder == "big":
        sound.byteswap()
    return samples_per_second, sound.tobytes()


def _check(code: int, what: str) -> None:
    if code:
        raise RuntimeError(f"espeak refused {what}: error {code}")


def main() -> None:
    """Answer one list of sentences."""
    said = [say(**utterance) for utterance in json.load(sys.stdin)]
    header = {
        "samples_per_second": said[0][0] if said else 0,
        "samples": [len(sound) // 2 for _, sound in said],
    }
    sys.stdout.buffer.write(json.dumps(header).encode() + b"\n")
    for _, sound in said:
        sys.stdout.buffer.write(sound)


if __name__ == "__main__":
    main()
