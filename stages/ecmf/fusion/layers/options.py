"""What every member built of multi-head attention lets one choose."""

from typing import Self

from pydantic import Field, model_validator

from ecmf.config import Section


class AttentionOptions(Section):
    """Width of every vector inside, heads that share it, and dropout; sizes for small sets."""

    width: int = Field(64, ge=1)
    heads: int = Field(4, ge=1)
    dropout: float = Field(0.3, ge=0, lt=1)

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        return self
