"""SemMIM (arXiv 2403.00249, LREC-COLING 2024): masked pretraining for any fusion model.

From the paper:
- A contrastive loss aligns the text and the rest of a clip, so that the text can guide the masking.
- The tokens most similar to the text are masked.
- A student that sees the rest, and the text, predicts a momentum teacher's soft assignments of the
  masked tokens to prototypes.
- The whole is assigned to the same prototypes, so that its meaning reaches the parts.
- The teacher's tokens attend to the text, too.
- Afterwards the model is trained for its task.

Our reading:
- The contrastive loss is trained alone for `alignment_epochs` epochs, and then along with the
  masked modelling. Its negatives are the other clips of the batch, without a queue of earlier ones.
- The text guides the masking of every other source, and the other sources that of the text, as all
  of them are sequences here. A step attends to all other sources.
- Each source has an encoder of its own, a transformer over its steps. These encoders are
  pretrained, and any other fusion model reads their output.
- Prototypes, temperatures, momentum and the masked fraction are ours.

Left out:
- The matching loss and the masked language loss.
- Pixels: the rows of an encoder are masked and predicted.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import Field, model_validator

from ecmf import registry
from ecmf.config import Section
from ecmf.errors import ParamsError
from ecmf.fusion import base
from ecmf.fusion.layers.alignment import Aligner, Alignment
from ecmf.fusion.layers.masked_modelling import Assigner, MaskedModelling
from ecmf.fusion.layers.options import AttentionOptions, Layers
from ecmf.fusion.layers.source_encoders import SourceEncoders

OWN_NAME = "semmim"


class Options(AttentionOptions):
    """The inner fusion model, its encoders, and their pretraining; all sizes are ours.

    `dropout` applies to the inner model too, unless its `options` set another.
    """

    model: str = Field("ecmf", description="Inner fusion model; any other file of fusion/.")
    options: dict[str, Any] = Field(default_factory=dict, description="Options of the inner model.")
    layers: Layers = 1
    epochs: int = Field(5, ge=0, description="Epochs of masked modelling; 0: no pretraining.")
    alignment_epochs: int = Field(
        20, ge=0, description="Epochs before them of the contrastive loss alone."
    )
    alignment_temperature: float = Field(
        0.07, gt=0, description="Temperature of the contrastive loss."
    )
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

    def pretext_tasks(self) -> Iterator[base.PretextTask]:
        """Yield the pretraining of the encoders; all else that it trains is discarded."""
        options = self.options
        if not options.epochs:
            return
        texts = [source.branch == "text" for source in self.sources]
        aligner = Aligner(texts, options.width, options.alignment_temperature)
        if options.alignment_epochs:
            yield Alignment(self.encoders, aligner, options.alignment_epochs)
        student = Assigner(
            self.encoders, aligner, options.width, options.heads, options.dropout,
            options.prototypes,
        )  # fmt: skip
        yield MaskedModelling(
            student,
            epochs=options.epochs,
            mask_ratio=options.mask_share,
            momentum=options.momentum,
            temperature=options.temperature,
            teacher_temperature=options.teacher_temperature,
        )
