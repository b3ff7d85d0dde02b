"""Say in one text why the parts of a decoded clip are damaged."""

from ecmf.decoding.clip_decoder import DecodedClip
from ecmf.execution.result_writer import join_reasons


def failure(decoded: DecodedClip) -> str:
    return join_reasons(decoded._asdict(), "failed")


def flag(decoded: DecodedClip) -> str:
    return join_reasons(decoded._asdict(), "flagged")
