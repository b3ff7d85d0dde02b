"""Encode the images of a clip together, as a video, with VideoMAE.

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

from ecmf.encoding.network import Chunk, Network
from ecmf.errors import MissingFileError, ParamsError
from ecmf.execution import device
from ecmf.media import RGB, Features, Images, Seconds
from ecmf.pretrained.transformers_model import LayerOptions, locate
from ecmf.pretrained.weights import Weights

WEIGHTS_LICENCE = "that of the repository"
NEEDS = "a repository of the hub, fetched once, or a folder of weights"


class Options(Weights, LayerOptions):
    """Weights and layers.

    The mean over all tokens of the last layer is the official utterance feature of MER2025, except
    for the selection of images.
    """


class Encoder(Network[Images]):
    """Encode the images of a clip as one row, in the middle of their times.

    The network takes a fixed number of images, usually 16: those nearest to as many points evenly
    spaced in time from the first image to the last. If a clip has fewer, some occur more than once.
    A long clip is thus sampled in larger steps than a short one. Each two successive images are cut
    into tubes, and the row is the mean over the tubes.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._pretrained = locate(options)
        config = self._pretrained.config
        if config.model_type != "videomae":
            raise ParamsError(
                f"{self._pretrained.folder} holds {config.model_type!r}, not 'videomae': use the "
                "encoder huggingface for networks that take one image at a time"
            )
        options.check_layers(config.num_hidden_layers + 1)
        self._processor = self._pretrained.load_preprocessor(AutoImageProcessor, backend="pil")
        self._frames = int(config.num_frames)
        expected = (self._frames, config.num_channels, config.image_size, config.image_size)
        shape = np.shape(self._pixels([np.zeros((240, 320, 3), np.uint8)] * self._frames))
        if shape != expected:
            raise MissingFileError(
                f"the {type(self._processor).__name__} in {self._pretrained.folder} makes {shape} "
                f"of a clip, but the network reads {expected}: use the processor of these weights"
            )
        self.dim = options.dim(config.hidden_size)
        self.dtype = self._pretrained.dtype
        self.provenance = {
            **self._pretrained.provenance,
            "frames": self._frames,
            "processor": type(self._processor).__name__,
            "pillow": version("pillow"),
        }

    def split(self, clip: Images) -> Sequence[Chunk]:
        """Select and preprocess images: one chunk, (frames, 3, height, width), float32."""
        if not len(clip.images):
            return []
        # each selected image is preprocessed once, though it may occur more than once
        selected, positions = np.unique(
            evenly_spaced(clip.times, self._frames), return_inverse=True
        )
        pixels = self._pixels([clip.images[index] for index in selected])
        return [Chunk({"pixel_values": pixels[positions]})]

    def forward(self, batch: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Compute rows (clips, dim) from images (clips, frames, 3, height, width)."""
        with self._pretrained.inference():
            outputs = self._network(
                **device.to_device(batch), output_hidden_states=self._options.needs_hidden_states
            )
            rows: NDArray[Any] = self._options.select_states(outputs).mean(dim=1).cpu().numpy()
        return rows

    def merge(self, clip: Images, results: Sequence[NDArray[Any]]) -> Features:
        """Return one row for the clip, or none if it has no image."""
        if not results:
            return self.empty_features()
        return self.features(np.stack(results), (clip.times[:1] + clip.times[-1:]) / 2)

    @functools.cached_property
    def _network(self) -> Any:
        return self._pretrained.load_model(VideoMAEModel)

    def _pixels(self, images: Sequence[RGB]) -> NDArray[np.float32]:
        inputs = self._processor(
            list(images), return_tensors="np", input_data_format="channels_last"
        )
        return np.asarray(inputs["pixel_values"][0], np.float32)


def evenly_spaced(times: Seconds, count: int) -> NDArray[np.intp]:
    """Return the indices of the images nearest to `count` points evenly spaced in time.

    The points go from the first image to the last; of two equally near images the earlier is taken.
    """
    points = np.linspace(times[0], times[-1], count)
    nearest: NDArray[np.intp] = np.abs(times[None, :] - points[:, None]).argmin(axis=1)
    return nearest
