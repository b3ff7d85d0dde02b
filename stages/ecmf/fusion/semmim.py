"""SemMIM (arXiv 2403.00249, LREC-COLING 2024): masked pretraining for any fusion model.

Taken from the paper: the tokens most similar to the text are masked; a student that sees the rest,
and the text, predicts a momentum teacher's soft assignments of the masked tokens to prototypes; the
whole is assigned to the same prototypes, so that its meaning reaches the parts; the teacher's
tokens attend to the text, too. Afterwards the model is trained for its task.

Our reading: the text guides the masking of every other source, and the other sources that of the
text, as all of them are sequences here; a step attends to all other sources. Each source has an
encoder of its own, a transformer over its steps, and these encoders are pretrained; any other
fusion model reads their output. Prototypes, temperatures, momentum and the masked fraction are
ours.

Left out: the contrastive, matching and language losses, and pixels: the rows of an encoder are
masked and predicted.
"""

from collections.abc import Sequence
from typing import Any

from pydantic import Field, model_validator

from ecmf import registry
from ecmf.config import Section
from ecmf.errors import ParamsError
from ecmf.fusion import base
from ecmf.fusion.layers.masked_modelling import Assigner, MaskedModelling, SourceEncoders
from ecmf.fusion.layers.options import AttentionOptions, Layers

OWN_NAME = "semmim"


class Options(AttentionOptions):
    """The inner fusion model, its encoders, and their pretraining; all sizes are ours.

    `dropout` applies to the inner model too, unless its `options` set another.
    """

    model: str = Field("ecmf", description="Inner fusion model; any other file of fusion/.")
    options: dict[str, Any] = Field(default_factory=dict, description="Options of the inner model.")
    layers: Layers = 1
    epochs: int = Field(5, ge=0, description="Epochs of pretraining; 0 turns it off.")
    mask_share: float = Field(0.4, gt=0, lt=1, description="Fraction of the steps to mask.")
    momentum: float = Field(0.99, ge=0, lt=1, description="Momentum of the teacher's weights.")
    prototypes: int = Field(64, ge=2, description="Number of prototypes.")
    temperature: float = Field(0.1, gt=0, description="Temperature of the student.")
    teacher_temperature: float = Field(0.05, gt=0, description="Temperature of the teacher.")

    @model_validator(mode="after")
    def _check_inner_model(self) -> "Options":
        if self.model == OWN_NAME:
            raise ValueError(f"model is {OWN_NAME!r} itself: choose another file of fusion/")
        try:
            inner = self.inner_options()
        except ParamsError as error:
            raise ValueError(str(error)) from error
        if registry.load("fusion", self.model).Fusion.target_sources(inner):
            raise ValueError(
                f"{OWN_NAME!r} encodes every source before {self.model!r} reads it, so no source "
                "can be its teacher: remove teacher from its options"
            )
        return self

    def inner_options(self) -> Section:
        """Return the validated options of the inner model."""
        fields = registry.load("fusion", self.model).Options.model_fields
        shared = {"dropout": self.dropout} if "dropout" in fields else {}
        return registry.check_options("fusion", self.model, shared | self.options)


class Fusion(base.Fusion):
    """Encode each source by a pretrained encoder, and fuse them by the inner model."""

    order_aware = True

    def __init__(self, sources: Sequence[base.SourceShape], outputs: int, options: Options) -> None:
        super().__init__(sources, outputs)
        self.options = options
        width = options.width
        self.encoders = SourceEncoders(
            self.sources, width, options.heads, options.layers, options.dropout
        )
        encoded = [base.SourceShape(source.name, width) for source in self.sources]
        self.member: base.Fusion = registry.load("fusion", options.model).Fusion(
            encoded, outputs, options.inner_options()
        )

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Encode the steps of each source, and fuse them by the inner model."""
        rows = {
            name: encoded
            for name, (encoded, _) in zip(batch.rows, self.encoders(batch), strict=True)
        }
        output: base.Output = self.member(base.Batch(rows, batch.masks), target)
        return output

    def pretext(self) -> base.PretextTask | None:
        """Return the pretraining of the encoders; its teacher is no part of the model."""
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
            mask_ratio=options.mask_share,
            momentum=options.momentum,
            temperature=options.temperature,
            teacher_temperature=options.teacher_temperature,
        )
