"""Options that fusion models share: width, attention heads, layers, dropout."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from ecmf.config import Section

Width = Annotated[int, Field(ge=1, description="Width of the hidden vectors.")]
Heads = Annotated[int, Field(ge=1, description="Attention heads; they must divide the width.")]
Layers = Annotated[int, Field(ge=1, description="Layers of each transformer.")]
DropoutRate = Annotated[float, Field(ge=0, lt=1, description="Dropout rate of hidden values.")]
LossWeight = Annotated[float, Field(ge=0)]


class AttentionOptions(Section):
    """Sizes of a model with multi-head attention; the defaults suit small corpora."""

    width: Width = 64
    heads: Heads = 4
    dropout: DropoutRate = 0.3

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        return self
