"""The base of every typed block of `params.yaml`: closed, frozen, checked."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A block of `params.yaml`: no key it does not know, no change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)
