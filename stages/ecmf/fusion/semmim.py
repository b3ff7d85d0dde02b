"""SemMIM (arXiv 2403.00249, LREC-COLING 2024): any member, practised on clips without labels.

Taken from the paper: what is most like the text is hidden; a student that sees the rest, and the
text, says what a momentum teacher says of the hidden tokens, in soft assignments to prototypes; the
whole is assigned to the same prototypes, so that its meaning reaches the parts; the teacher's
tokens have looked at the text, too. Afterwards the model is trained for its task.

Our reading: every source is hidden by the text, and the text by what else there is, for here all of
them are sequences; a step looks at all other sources. Each source has an encoder of its own, a
transformer over its steps, and it is the encoders that practise; any other member reads what they
make. Prototypes, temperatures, momentum, and how much is hidden are ours.

Left out: the contrastive, matching and language losses beside it, and pictures: the rows of an
encoder are what is hidden and told.
"""

from collections.abc import Sequence
from typing import Any

from pydantic import Field, model_validator

from ecmf import registry
from ecmf.config import Section
from ecmf.errors import ParamsError
from ecmf.fusion import base
from ecmf.fusion.layers.masked_modelling import Assigner, Encoders, MaskedModelling
from ecmf.fusion.layers.options import AttentionOptions

OWN_NAME = "semmim"


class Options(AttentionOptions):
    """The `member` that is trained, its `options`, and how its encoders practise before.

    `dropout` is the member's too, unless its options say otherwise; 0 `epochs` are no practice.
    """

    member: str = "ecmf"
    options: dict[str, Any] = Field(default_factory=dict)
    layers: int = Field(1, ge=1)
    epochs: int = Field(5, ge=0)
    mask_share: float = Field(0.4, gt=0, lt=1)
    momentum: float = Field(0.99, ge=0, lt=1)
    prototypes: int = Field(64, ge=2)
    temperature: float = Field(0.1, gt=0)
    teacher_temperature: float = Field(0.05, gt=0)

    @model_validator(mode="after")
    def _can_be_built(self) -> "Options":
        if self.member == OWN_NAME:
            raise ValueError(
                f"member {OWN_NAME!r} would practise for itself: choose another file of fusion/"
            )
        try:
            member = self.of_member()
        except ParamsError as error:
            raise ValueError(str(error)) from error
        if getattr(member, "teacher", None):
            raise ValueError(
                f"member {OWN_NAME!r} encodes every source before {self.member!r} gets it, so none "
                "can be its teacher: take teacher out of its options"
            )
        return self

    def of_member(self) -> Section:
        """Return the checked options of the member."""
        known = registry.load("fusion", self.member).Options.model_fields
        shared = {"dropout": self.dropout} if "dropout" in known else {}
        return registry.options("fusion", self.member, shared | self.options)


class Fusion(base.Fusion):
    """An encoder per source, then the member; the encoders practise."""

    def __init__(self, sources: Sequence[base.SourceShape], classes: int, options: Options) -> None:
        """Build for these sources."""
        super().__init__(sources, classes)
        self.options = options
        width = options.width
        self.encoders = Encoders(
            self.sources, width, options.heads, options.layers, options.dropout
        )
        encoded = [base.SourceShape(source.name, width) for source in self.sources]
        self.member: base.Fusion = registry.load("fusion", options.member).Fusion(
            encoded, classes, options.of_member()
        )

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Encode the steps of each source, and let the member fuse them."""
        rows = {
            name: encoded
            for name, (encoded, _) in zip(batch.rows, self.encoders(batch), strict=True)
        }
        output: base.Output = self.member(base.Batch(rows, batch.masks), target)
        return output

    def pretext(self) -> base.Pretext | None:
        """Return the practice of the encoders; the teacher in it is no part of the model."""
        options = self.options
        if not options.epochs:
            return None
        student = Assigner(
            self.encoders, options.width, options.heads, options.dropout, options.prototypes
        )
        return MaskedModelling(
            student,
            [source.branch == "text" for source in self.sources],
            epochs=options.epochs,
            share=options.mask_share,
            momentum=options.momentum,
            temperature=options.temperature,
            teacher_temperature=options.teacher_temperature,
        )
