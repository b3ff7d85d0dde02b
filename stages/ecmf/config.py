"""Base class of every typed section of `params.yaml`."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section of `params.yaml`: unknown keys are errors, and fields cannot be reassigned.

    Neither `.inf` nor `.nan` is a number of it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
