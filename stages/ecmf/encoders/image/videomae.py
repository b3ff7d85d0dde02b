"""VideoMAE: how a clip's pictures follow each other, seen by a network with pretrained weights.

Z. Tong et al., "VideoMAE: masked autoencoders are data-efficient learners for self-supervised video
pre-training", NeurIPS 2022. Weights of MCG-NJU/videomae-base and its kin, fine-tuned or not.
"""

import functools
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import AutoImageProcessor, VideoMAEModel

from ecmf.encoding.network import Network, Piece
from ecmf.errors import MissingFileError, ParamsError
from ecmf.execution import device
from ecmf.media import RGB, Features, Pictures, Seconds
from ecmf.pretrained.transformers_model import Layers, locate
from ecmf.pretrained.weights import Weights


class Options(Weights, Layers):
    """Which weights, and of which layers the tokens are averaged: the last, where nothing is said.

    The mean over all tokens of the last layer is the official utterance feature of MER2025, but for
    the choice of pictures.
    """


class Encoder(Network[Pictures]):
    """The pictures of a clip in, one row in the middle of their times out.

    The network looks at a fixed number of pictures, 16 as a rule. Of a clip those nearest to as
    many points are taken that divide the time from its first to its last picture evenly; where a
    clip has fewer, some come more than once. A long clip is so seen in larger steps than a short
    one. Each two successive pictures are cut into tubes, and the row is the mean over the tubes.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._pretrained = locate(options)
        config = self._pretrained.config
        if config.model_type != "videomae":
            raise ParamsError(
                f"{self._pretrained.folder} holds a {config.model_type}, not a videomae: networks "
                "that see one picture at a time belong to the member huggingface"
            )
        options.check(config.num_hidden_layers + 1)
        self._processor = self._pretrained.preprocessor(AutoImageProcessor, backend="pil")
        self._frames = int(config.num_frames)
        expected = (self._frames, config.num_channels, config.image_size, config.image_size)
        found = np.shape(self._pixels([np.zeros((240, 320, 3), np.uint8)] * self._frames))
        if found != expected:
            raise MissingFileError(
                f"the {type(self._processor).__name__} in {self._pretrained.folder} makes {found} "
                f"of a clip, but the network reads {expected}: take the one of these weights"
            )
        self.dim = options.dim(config.hidden_size)
        self.dtype = self._pretrained.dtype
        self.provenance = {
            **self._pretrained.provenance,
            "frames": self._frames,
            "processor": type(self._processor).__name__,
            "pillow": version("pillow"),
        }

    def pieces(self, clip: Pictures) -> Sequence[Piece]:
        """The chosen pictures of a clip, (frames, 3, height, width), float32."""
        if not len(clip.images):
            return []
        chosen, places = np.unique(evenly(clip.times, self._frames), return_inverse=True)
        pixels = self._pixels([clip.images[number] for number in chosen])
        return [Piece({"pixel_values": pixels[places]})]

    def forward(self, batch: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Clips, (clips, frames, 3, height, width), in; rows (clips, dim) out."""
        with self._pretrained.computing():
            outputs = self._network(
                **device.to_device(batch), output_hidden_states=self._options.inner
            )
            rows: NDArray[Any] = self._options.tokens(outputs).mean(dim=1).cpu().numpy()
        return rows

    def join(self, clip: Pictures, results: Sequence[NDArray[Any]]) -> Features:
        """One row for the clip; none where it has no picture."""
        if not results:
            return self.no_features()
        return self.features(np.stack(results), (clip.times[:1] + clip.times[-1:]) / 2)

    @functools.cached_property
    def _network(self) -> Any:
        return self._pretrained.model(VideoMAEModel)

    def _pixels(self, images: Sequence[RGB]) -> NDArray[np.float32]:
        made = self._processor(list(images), return_tensors="np", input_data_format="channels_last")
        return np.asarray(made["pixel_values"][0], np.float32)


def evenly(times: Seconds, count: int) -> NDArray[np.intp]:
    """Which of the pictures taken at `times` are nearest to `count` points evenly spread in time.

    From the first picture to the last; between two that are equally near, the earlier one.
    """
    points = np.linspace(times[0], times[-1], count)
    nearest: NDArray[np.intp] = np.abs(times[None, :] - points[:, None]).argmin(axis=1)
    return nearest
