"""What a file claims and what was decoded -> the reasons to doubt it, in words."""

from collections.abc import Iterator, Mapping

from ecmf.decoding.demuxer import TOLERANCE


def about_frames(facts: Mapping[str, float], repeated: int) -> Iterator[str]:
    """Doubts about a video, given its facts and how many frames repeat a timestamp."""
    short = facts["decoded_seconds"] < facts["claimed_seconds"] - TOLERANCE
    if short or facts["decoded_frames"] < facts["claimed_frames"]:
        claimed, decoded = (
            f"{facts[f'{side}_frames']:.0f} frames / {facts[f'{side}_seconds']:.2f} s"
            for side in ("claimed", "decoded")
        )
        yield f"truncated or damaged: claims {claimed}, {decoded} could be decoded"
    if repeated:
        yield f"{repeated} frames repeat the timestamp of another"


def about_sound(facts: Mapping[str, float], damaged_packets: int) -> Iterator[str]:
    """Doubts about a sound track, given its facts."""
    if facts["decoded_seconds"] < facts["claimed_seconds"] - TOLERANCE:
        yield (
            f"truncated or damaged: claims {facts['claimed_seconds']:.2f} s of sound, "
            f"{facts['decoded_seconds']:.2f} s could be decoded"
        )
    if damaged_packets:
        yield f"{damaged_packets} packets of sound are torn or could not be decoded"
