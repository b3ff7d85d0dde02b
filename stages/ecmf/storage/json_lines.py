"""Read and write records as JSON lines: one object per line, checked by a pydantic model."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ValidationError

from ecmf.errors import StoreError
from ecmf.storage.files import write_text


def _encodable(text: str) -> str:
    text.encode()  # half a surrogate pair, which a model may generate, cannot be stored as UTF-8
    return text


EncodableText = Annotated[str, AfterValidator(_encodable)]

Record = TypeVar("Record", bound=BaseModel)


def write_records(records: Iterable[BaseModel], path: Path) -> None:
    """Write one line per record, atomically; equal records give equal bytes."""
    lines = (
        json.dumps(record.model_dump(mode="json"), ensure_ascii=False, sort_keys=True)
        for record in records
    )
    write_text(path, "".join(f"{line}\n" for line in lines))


def read_records(path: Path, model: type[Record]) -> list[Record]:
    """Read all records, in the order of the file.

    Raises:
        StoreError: a line is not a valid record; names the line number and the error.
    """
    records = []
    # Not splitlines(): JSON does not escape every line end of Unicode.
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line:
            continue
        try:
            records.append(model.model_validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "line"
            raise StoreError(
                f"{path}, line {number}: {where}: {first['msg']}; delete the file and run again"
            ) from error
    return records
