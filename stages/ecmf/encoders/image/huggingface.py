"""Encode images with pretrained networks of transformers: CLIP, SigLIP, DINOv2, ViT, BEiT, ...

Any network that takes `pixel_values` alone can be used. The processor stored with the weights
preprocesses images with Pillow, on the CPU: 1.4 to 1.7 ms for one of 112 x 112, 1.7 to 2.4 for
320 x 240.
"""

import functools
from collections.abc import Mapping, Sequence
from copy import copy
from importlib.metadata import version
from typing import Any, Literal, Self

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from pydantic import Field, model_validator
from transformers import AutoImageProcessor, AutoModel

from ecmf.encoding.network import Chunk, Network
from ecmf.errors import ParamsError
from ecmf.execution import device
from ecmf.media import RGB, Features, Images
from ecmf.pretrained.transformers_model import LayerOptions, locate
from ecmf.pretrained.weights import Weights

WEIGHTS_LICENCE = "that of the repository"
NEEDS = "a repository of the hub, fetched once, or a folder of weights"

VISION_CLASSES = {
    "clip": "CLIPVisionModelWithProjection",
    "metaclip_2": "MetaClip2VisionModelWithProjection",
    "siglip": "SiglipVisionModel",
}
"""Model type of a network of image and text -> class of its image part alone."""

UNUSED_WEIGHTS = ("embeddings.mask_token",)
"""Weights used in pre-training only."""

INPUT_ERRORS = (RuntimeError, ValueError, TypeError, AttributeError, LookupError, ImportError)
"""Errors of networks that do not take images alone, or not images of this size."""


class Options(Weights, LayerOptions):
    """Weights, layers and pooling.

    `pooling: pooled` is the vector used by the network's authors:
    - CLIP, SigLIP and other networks of image and text: the projected vector that they compare with
      a text (`get_image_features`), not scaled to length 1. Of clip-vit-large-patch14 it is the
      official feature of MER2025 (768 numbers).
    - DINOv2, ViT and DeiT: the class token after the last normalisation (Dosovitskiy et al. 2021,
      eq. 4); transformers' `pooler_output` adds a layer there that served pre-training and that
      most files lack.
    - BEiT: the normalised mean of the patches (Bao et al. 2022), if the file was fine-tuned.
    - others: transformers' `pooler_output`.
    """

    pooling: Literal["pooled", "patches", "cls"] = Field(
        "pooled", description="Authors' vector (pooled), mean of patches, or class token (cls)."
    )

    @model_validator(mode="after")
    def _pooled_reads_the_last_layer(self) -> Self:
        if self.pooling == "pooled" and self.needs_hidden_states:
            raise ValueError(
                f"pooled reads the last layer, not {list(self.layers)}: leave layers out, or "
                "choose pooling: patches or cls"
            )
        return self


class Encoder(Network[Images]):
    """Encode each image as one row, with its time.

    An image is encoded once, as a whole, except for margins that the processor crops off.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._pretrained = locate(options)
        self._processor = self._pretrained.load_preprocessor(AutoImageProcessor, backend="pil")
        self._inspect_outputs()
        self.dtype = self._pretrained.dtype
        self.provenance = {
            **self._pretrained.provenance,
            "architecture": self._architecture.__name__,
            "vector": self._vector,
            "processor": type(self._processor).__name__,
            "pillow": version("pillow"),
        }

    def _inspect_outputs(self) -> None:
        """Run the network without its weights on an image, to find its outputs and their width."""
        try:
            with torch.device("meta"):  # shapes without numbers: quick, and takes no memory
                network, self._config = _build_network(self._pretrained.config)
            self._architecture = type(network)
            pixels = self._pixels(np.zeros((240, 320, 3), np.uint8))
            # Outside of that block: BEiT caches a table in its first call for all later ones, and
            # on "meta" the table would have no numbers either.
            with torch.inference_mode():
                outputs = _run(network, torch.empty(1, *pixels.shape, device="meta"), hidden=True)
        except INPUT_ERRORS as error:
            raise ParamsError(
                f"{self._pretrained.folder} holds {self._pretrained.config.model_type!r}, which "
                f"does not take such images alone: {error}"
            ) from error
        if "ids_restore" in outputs:
            raise ParamsError(
                f"{self._architecture.__name__} masks parts of an image at random: choose a "
                "network that was fine-tuned from it, such as a ViT"
            )
        if self._options.pooling == "pooled":
            self._vector = _pooled_vector(network, outputs)
        else:
            self._vector = self._options.pooling
            self._prefix_tokens = _count_prefix_tokens(self._config, outputs, pixels.shape)
            self._options.check_layers(len(outputs.hidden_states))
            if self._vector == "cls" and not self._prefix_tokens:
                raise ParamsError(
                    f"{self._architecture.__name__} has no class token: choose pooling: patches"
                )
        self.dim = int(self._vectors(outputs).shape[-1])

    def split(self, clip: Images) -> Sequence[Chunk]:
        """Resize and normalise each image: (3, height, width), float32."""
        return [Chunk({"pixel_values": self._pixels(image)}) for image in clip.images]

    def forward(self, batch: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Compute rows (images, dim) from images (images, 3, height, width)."""
        with self._pretrained.inference():
            pixels = device.to_device(batch)["pixel_values"]
            outputs = _run(self._network, pixels, hidden=self._options.needs_hidden_states)
            rows: NDArray[Any] = self._vectors(outputs).float().cpu().numpy()
        return rows

    def merge(self, clip: Images, results: Sequence[NDArray[Any]]) -> Features:
        """Return one row per image, with the image's time."""
        return self.features(np.stack(results), clip.times) if results else self.empty_features()

    @functools.cached_property
    def _network(self) -> torch.nn.Module:
        heads = () if self._vector == "image_embeds" else ("visual_projection",)
        poolers = () if self._vector == "pooler_output" else ("pooler", "head", *heads)
        return self._pretrained.load_model(
            self._architecture, (*UNUSED_WEIGHTS, *poolers), self._config
        )

    def _pixels(self, image: RGB) -> NDArray[np.float32]:
        # Explicit, since transformers would take an image three pixels high for channels first.
        inputs = self._processor(image, return_tensors="np", input_data_format="channels_last")
        (pixels,) = inputs["pixel_values"]
        return np.asarray(pixels, np.float32)

    def _vectors(self, outputs: Any) -> torch.Tensor:
        """Return the vector of each image, (images, dim), from the network's outputs."""
        if self._vector in ("image_embeds", "pooler_output"):
            vectors: torch.Tensor = outputs[self._vector]
            return vectors.flatten(start_dim=1)
        tokens = self._options.select_states(outputs)
        if self._vector == "patches":
            return tokens[:, self._prefix_tokens :].mean(dim=1)
        return tokens[:, 0]


def _build_network(config: Any) -> tuple[Any, Any]:
    """Build the network, or only its image part, and return it with its configuration."""
    vision_class = VISION_CLASSES.get(config.model_type)
    for name in config.architectures or ():
        if name in VISION_CLASSES.values():  # saved without the text part
            vision_class = name
    if vision_class is None:
        network = AutoModel.from_config(config, dtype=torch.float32, trust_remote_code=False)
        return network.eval(), config
    vision_config = copy(getattr(config, "vision_config", config))
    if hasattr(config, "projection_dim"):
        vision_config.projection_dim = config.projection_dim
    return getattr(transformers, vision_class)(vision_config).eval(), vision_config


def _run(network: Any, pixels: torch.Tensor, hidden: bool) -> Any:
    """Compute the network's outputs for images, with or without its hidden states."""
    forward = getattr(network, "get_image_features", network)
    return forward(pixel_values=pixels, output_hidden_states=hidden)


def _pooled_vector(network: Any, outputs: Any) -> str:
    """Return the name of the output, or "class token", that represents an image as a whole."""
    if "image_embeds" in outputs:
        return "image_embeds"
    if hasattr(getattr(network, "pooler", None), "dense"):
        return "class token"
    if "pooler_output" in outputs:
        return "pooler_output"
    raise ParamsError(
        f"{type(network).__name__} has no vector for an image as a whole: choose pooling: patches "
        "or cls"
    )


def _count_prefix_tokens(config: Any, outputs: Any, shape: Sequence[int]) -> int:
    """Count the tokens before those of the patches: class token and registers."""
    vision_config = getattr(config, "vision_config", config)
    side = getattr(vision_config, "patch_size", None)
    registers = getattr(vision_config, "num_register_tokens", 0)
    tokens = outputs.last_hidden_state.shape[1:-1]
    if len(tokens) == 1 and isinstance(side, int):
        count = int(tokens[0]) - (shape[1] // side) * (shape[2] // side)
        if count in (0, 1, 1 + registers) or (count, config.model_type) == (2, "deit"):
            return count
    raise ParamsError(
        f"the tokens of {config.model_type!r} are not one per patch: choose pooling: pooled"
    )
