"""CFN-SR (arXiv 2111.02172): the audio guides attention over the positions of the other sources.

"A cross-modal fusion network based on self-attention and residual structure for multimodal emotion
recognition"; ECMF's fusion descends from it.

From the paper:
- A causal transformer reads the audio, and its last step is the guide `y`. Its input is scaled by
  the root of the width, and its blocks are four times as wide, with ReLU (published code).
- Every position of a frame of the video is scored, `e_p = w^T tanh(W_x x_p + W_y y)`, and the
  positions of one frame share a softmax, `α = softmax_p(e)`.
- A residual keeps each position, `x'_p = α_p x_p + x_p`.
- The classifier reads the mean of `x'` over positions and frames, and the flattened original audio.
- Five layers and eight heads (published code).

Our reading:
- Every source that is not a guide is guided. The guides are the sources of the first branch in
  `GUIDE_PRIORITY` that the model has: audio, unless it has none. Several guides are averaged. In a
  model of one branch the guides guide themselves.
- `positions` names the sources whose rows are maps. In any other source a row is one position, on
  which the published softmax is always 1: all rows of all such sources of a clip share one softmax,
  so that the guide weights time and sources.
- Rows are projected to one width first; the published maps keep theirs.
- Ragged rows have no common number of steps: the audio is resampled to `steps` before it is
  flattened, by interpolation; the published audio has 26.
- A clip without its guide has `y = 0`: each position is then scored by itself alone.
- The published code adds the maps of all clips of a batch; here each clip has its own. It counts
  positions in time from 1, and gives none to a step that begins with 0.
- No weights of the sources are returned: the guide has none. Widths and dropout are ours.

Left out:
- The paper's video and audio networks, which are encoders here.
"""

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from ecmf.errors import ParamsError
from ecmf.fusion import base
from ecmf.fusion.layers.causal_transformer import CausalTransformer
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.options import AttentionOptions, Heads, Layers
from ecmf.fusion.layers.pooling import last_step, masked_mean, masked_softmax
from ecmf.fusion.layers.sequences import StepProjection, Streams, concatenate, resample

GUIDE_PRIORITY = ("audio", "text", "face", "frame")
"""Branches in the order in which they are preferred as the guide."""


class Options(AttentionOptions):
    """Widths, steps and dropout are ours; heads and layers are the published code's."""

    heads: Heads = 8
    layers: Layers = 5
    steps: int = Field(4, ge=1, description="Steps of a guide, which the classifier reads.")
    positions: dict[str, int] = Field(
        default_factory=dict,
        description="Positions of a guided source whose rows are maps, position by position.",
    )


class Fusion(base.Fusion):
    """Weight the positions of the other sources by the attention of a guiding branch."""

    order_aware = True

    def __init__(self, sources: Sequence[base.SourceShape], outputs: int, options: Options) -> None:
        """Build the layers.

        Raises:
            ParamsError: a source of `positions` is not guided, or its rows are no such maps.
        """
        super().__init__(sources, outputs)
        width, self.steps = options.width, options.steps
        branches = [source.branch for source in self.sources]
        leading = next((branch for branch in GUIDE_PRIORITY if branch in branches), branches[0])
        self.guides = [index for index, branch in enumerate(branches) if branch == leading]
        others = [index for index, branch in enumerate(branches) if branch != leading]
        self.guided = others or self.guides
        self.positions = _check_positions(
            options.positions, [self.sources[index] for index in others]
        )
        shapes = [
            base.SourceShape(source.name, source.dim // self.positions.get(source.name, 1))
            for source in self.sources
        ]
        self.projection = StepProjection(shapes, width, options.dropout)
        self.transformer = CausalTransformer(width, options.heads, options.layers, options.dropout)
        self.position = nn.Linear(width, width)
        self.guide = nn.Linear(width, width, bias=False)
        self.score = nn.Linear(width, 1, bias=False)  # a bias has no effect in a softmax
        self.dropout = Dropout(options.dropout)
        self.classifier = nn.Linear(
            width * (len(self.guided) + len(self.guides) * self.steps), outputs
        )

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Fuse the sources of each clip."""
        streams = self.project(batch)
        parts = [
            masked_mean(rows + rows * weights.unsqueeze(-1), mask)
            for weights, (rows, mask) in zip(
                self.attention_weights(streams),
                (streams[index] for index in self.guided),
                strict=True,
            )
        ]
        parts += [resample(*streams[index], self.steps).flatten(1) for index in self.guides]
        return base.Output(self.classifier(self.dropout(torch.cat(parts, dim=1))))

    def project(self, batch: base.Batch) -> Streams:
        """Return the positions of each source, (clips, steps * positions, width), with masks."""
        rows, masks = dict(batch.rows), dict(batch.masks)
        for name, count in self.positions.items():
            rows[name] = rows[name].reshape(len(rows[name]), masks[name].shape[1] * count, -1)
            masks[name] = masks[name].repeat_interleave(count, dim=1)
        streams: Streams = self.projection(base.Batch(rows, masks))
        return streams

    def attention_weights(self, streams: Streams) -> list[Tensor]:
        """Return the weights `α` of each guided source, (clips, steps * positions) each.

        They sum to one over the positions of a map, and over all rows that are none.
        """
        guide = self.guide(self._last_steps(streams))[:, None]
        scores = {
            index: self.score(torch.tanh(self.position(streams[index][0]) + guide))
            for index in self.guided
        }
        flat = [index for index in self.guided if self.sources[index].name not in self.positions]
        weights = {index: self._map_weights(scores[index], streams, index) for index in scores}
        if flat:
            shared, mask = concatenate([(scores[index], streams[index][1]) for index in flat])
            counts = [streams[index][1].shape[1] for index in flat]
            parts = torch.split_with_sizes(masked_softmax(shared.squeeze(-1), mask), counts, dim=1)
            weights |= dict(zip(flat, parts, strict=True))
        return [weights[index] for index in self.guided]

    def _map_weights(self, scores: Tensor, streams: Streams, index: int) -> Tensor:
        """Return the softmax over the positions of each row, from scores (clips, positions, 1)."""
        count, mask = self.positions.get(self.sources[index].name, 1), streams[index][1]
        shape = (len(mask), -1, count)
        return masked_softmax(scores.reshape(shape), mask.reshape(shape)).flatten(1)

    def _last_steps(self, streams: Streams) -> Tensor:
        """Return `y`, the mean over a clip's guides of the transformer's last real step."""
        last = [
            last_step(self.transformer(*streams[index]), streams[index][1]) for index in self.guides
        ]
        present = torch.stack([streams[index][1].any(dim=1) for index in self.guides], dim=1)
        return masked_mean(torch.stack(last, dim=1), present)


def _check_positions(
    positions: dict[str, int], guided: Sequence[base.SourceShape]
) -> dict[str, int]:
    """Return `positions`; raises ParamsError if one names no guided source, or no map of it."""
    dims = {source.name: source.dim for source in guided}
    where = "options of fusion plugin 'cfn_sr': positions"
    for name, count in positions.items():
        if name not in dims:
            raise ParamsError(
                f"{where}: {name!r} is no guided source: choose one of {', '.join(dims)}"
            )
        if count < 1 or dims[name] % count:
            raise ParamsError(
                f"{where}: rows of {name!r} have {dims[name]} numbers, which are not {count} "
                "positions of equal width: choose a divisor"
            )
    return positions
