"""Check the integrity of a file: compare its declared length with the decoded one."""

from collections.abc import Iterator, Mapping

from ecmf.decoding.demuxer import TOLERANCE


def frame_warnings(facts: Mapping[str, float], duplicates: int) -> Iterator[str]:
    """Yield the defects of a video from its facts and its number of duplicate timestamps."""
    short = facts["decoded_seconds"] < facts["claimed_seconds"] - TOLERANCE
    if short or facts["decoded_frames"] < facts["claimed_frames"]:
        claimed, decoded = (
            f"{facts[f'{side}_frames']:.0f} frames / {facts[f'{side}_seconds']:.2f} s"
            for side in ("claimed", "decoded")
        )
        yield f"truncated or damaged: claims {claimed}, {decoded} could be decoded"
    if duplicates:
        yield f"{duplicates} frames repeat the timestamp of another"


def audio_warnings(facts: Mapping[str, float], corrupt_packets: int) -> Iterator[str]:
    """Yield the defects of an audio track from its facts and its number of corrupt packets."""
    if facts["decoded_seconds"] < facts["claimed_seconds"] - TOLERANCE:
        yield (
            f"truncated or damaged: claims {facts['claimed_seconds']:.2f} s of sound, "
            f"{facts['decoded_seconds']:.2f} s could be decoded"
        )
    if corrupt_packets:
        yield f"{corrupt_packets} packets of sound are torn or could not be decoded"
