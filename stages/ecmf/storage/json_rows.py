"""Keep a pydantic model as the rows of a clip, one byte of its JSON per row, for the cache."""

from typing import TypeVar

import numpy as np
from pydantic import BaseModel

from ecmf.storage.store import Layout, Result, Rows

BYTES = Layout(dtype="uint8", rate=1.0)
"""Layout of the rows."""

Model = TypeVar("Model", bound=BaseModel)


def to_rows(content: BaseModel) -> Rows:
    """Return the rows of a model."""
    values = np.frombuffer(content.model_dump_json().encode(), "uint8")
    return Rows(values, np.arange(len(values)) / (BYTES.rate or 1))


def from_rows(result: Result, model: type[Model]) -> Model:
    """Return the model in the rows that `to_rows` made; raises ValidationError for others."""
    return model.model_validate_json(np.asarray(result[0].values).tobytes())
