"""Read the JSON export of a project of Label Studio."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from ecmf.errors import CorpusError

MAX_BYTES = 1 << 29
"""Bytes of the largest export that is read: Python needs about ten times as many to hold it."""


class Result(BaseModel):
    """A value that someone set, in seconds of the recording."""

    type: str = ""
    from_name: str = ""
    to_name: str = ""
    value: dict[str, Any] = {}


class Annotation(BaseModel):
    """All that one person set in a task."""

    result: list[Result] = []
    completed_by: Any = None
    was_cancelled: bool = False
    ground_truth: bool = False


class Task(BaseModel):
    """A recording to label."""

    data: dict[str, Any]
    annotations: list[Annotation] = []


def read_export(path: Path) -> tuple[list[dict[str, Any]], list[Task]]:
    """Return the tasks of an export as they stand there and as they are read.

    Raises:
        CorpusError: the file is larger than `MAX_BYTES`, or no export.
    """
    if path.stat().st_size > MAX_BYTES:
        raise CorpusError(
            f"{path} has {path.stat().st_size >> 20} MiB, at most {MAX_BYTES >> 20} are read: "
            "export the project in parts"
        )
    try:
        raw = json.loads(path.read_bytes())
        return raw, TypeAdapter(list[Task]).validate_python(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        reason = f"{place}: {first['msg']}" if place else first["msg"]
    except (ValueError, RecursionError) as error:
        reason = str(error)
    raise CorpusError(
        f"{path} is no export of Label Studio ({reason}): export the project as JSON (not "
        "JSON-MIN), and move other .json files out of the folder"
    )
