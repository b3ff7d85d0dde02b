"""Networks of transformers for pictures, with pretrained weights: CLIP, SigLIP, DINOv2, ViT, BEiT.

And others that take `pixel_values` alone. The processor that lies with the weights prepares the
pictures with Pillow, on the CPU: 1.4 to 1.7 ms for one of 112 x 112, 1.7 to 2.4 of 320 x 240.
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
from pydantic import model_validator
from transformers import AutoImageProcessor, AutoModel

from ecmf.encoding.network import Network, Piece
from ecmf.errors import ParamsError
from ecmf.execution import device
from ecmf.media import RGB, Features, Pictures
from ecmf.pretrained.transformers_model import Layers, locate
from ecmf.pretrained.weights import Weights

TOWERS = {
    "clip": "CLIPVisionModelWithProjection",
    "metaclip_2": "MetaClip2VisionModelWithProjection",
    "siglip": "SiglipVisionModel",
}
"""Which class holds only what a network of picture and text needs for a picture."""

UNUSED = ("embeddings.mask_token",)
"""Weights that serve pre-training alone."""

REFUSALS = (RuntimeError, ValueError, TypeError, AttributeError, LookupError, ImportError)
"""What networks raise that cannot be asked for a picture, or not for pictures of this size."""


class Options(Weights, Layers):
    """Which weights, and which of the network's numbers stand for a picture.

    `pooled` is the vector that the network's authors use:
    - CLIP, SigLIP and other networks of picture and text: what they compare with a text
      (`get_image_features`), projected, not scaled to length 1. Of clip-vit-large-patch14 it is the
      official feature of MER2025 (768 numbers).
    - DINOv2: the class token after the last normalisation. So for ViT and DeiT (Dosovitskiy et al.
      2021, eq. 4); transformers' `pooler_output` adds a layer there that served pre-training and
      that most files lack.
    - BEiT: the normalised mean of the patches (Bao et al. 2022), where the file was fine-tuned.
    - others: transformers' `pooler_output`.

    `patches` is the mean over the patches, and `cls` the class token, of the chosen `layers`.
    """

    pooling: Literal["pooled", "patches", "cls"] = "pooled"

    @model_validator(mode="after")
    def _pooled_is_of_the_last(self) -> Self:
        if self.pooling == "pooled" and self.inner:
            raise ValueError(
                f"pooled is made of the last layer, not of {list(self.layers)}: leave layers out, "
                "or choose pooling: patches or cls"
            )
        return self


class Encoder(Network[Pictures]):
    """Pictures in, one row for each with its time out.

    No picture is cut up, mirrored or looked at twice; what the processor crops off is not seen.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._pretrained = locate(options)
        self._processor = self._pretrained.preprocessor(AutoImageProcessor, backend="pil")
        self._try()
        self.dtype = self._pretrained.dtype
        self.provenance = {
            **self._pretrained.provenance,
            "architecture": self._architecture.__name__,
            "vector": self._vector,
            "processor": type(self._processor).__name__,
            "pillow": version("pillow"),
        }

    def _try(self) -> None:
        """Ask the network without its weights for a picture: what it gives, and how wide."""
        try:
            with torch.device("meta"):  # shapes without numbers: quick, and takes no memory
                network, self._config = _skeleton(self._pretrained.config)
            self._architecture = type(network)
            pixels = self._pixels(np.zeros((240, 320, 3), np.uint8))
            # Outside of that block: BEiT keeps a table it makes in its first call for all later
            # ones, and on "meta" it would be of no numbers, too.
            with torch.inference_mode():
                outputs = _ask(network, torch.empty(1, *pixels.shape, device="meta"), hidden=True)
        except REFUSALS as error:
            raise ParamsError(
                f"{self._pretrained.folder} holds a {self._pretrained.config.model_type}, which "
                f"cannot be asked for a picture alone: {error}"
            ) from error
        if "ids_restore" in outputs:
            raise ParamsError(
                f"{self._architecture.__name__} hides parts of a picture at random: choose a "
                "network that was fine-tuned from it, such as a ViT"
            )
        if self._options.pooling == "pooled":
            self._vector = _own_vector(network, outputs)
        else:
            self._vector = self._options.pooling
            self._leading = _leading(self._config, outputs, pixels.shape)
            self._options.check(len(outputs.hidden_states))
            if self._vector == "cls" and not self._leading:
                raise ParamsError(
                    f"{self._architecture.__name__} has no class token: choose pooling: patches"
                )
        self.dim = int(self._vectors(outputs).shape[-1])

    def pieces(self, clip: Pictures) -> Sequence[Piece]:
        """Every picture, resized and normalised, (3, height, width), float32."""
        return [Piece({"pixel_values": self._pixels(image)}) for image in clip.images]

    def forward(self, batch: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Pictures, (pictures, 3, height, width), in; rows (pictures, dim) out."""
        with self._pretrained.computing():
            pixels = device.to_device(batch)["pixel_values"]
            outputs = _ask(self._network, pixels, hidden=self._options.inner)
            rows: NDArray[Any] = self._vectors(outputs).float().cpu().numpy()
        return rows

    def join(self, clip: Pictures, results: Sequence[NDArray[Any]]) -> Features:
        """One row per picture, with the picture's time."""
        return self.features(np.stack(results), clip.times) if results else self.no_features()

    @functools.cached_property
    def _network(self) -> torch.nn.Module:
        heads = () if self._vector == "image_embeds" else ("visual_projection",)
        poolers = () if self._vector == "pooler_output" else ("pooler", "head", *heads)
        return self._pretrained.model(self._architecture, (*UNUSED, *poolers), self._config)

    def _pixels(self, image: RGB) -> NDArray[np.float32]:
        # Said, not guessed: a picture three pixels high looks like one with its channels in front.
        made = self._processor(image, return_tensors="np", input_data_format="channels_last")
        (pixels,) = made["pixel_values"]
        return np.asarray(pixels, np.float32)

    def _vectors(self, outputs: Any) -> torch.Tensor:
        """What the network gave for pictures -> (pictures, dim)."""
        if self._vector in ("image_embeds", "pooler_output"):
            vectors: torch.Tensor = outputs[self._vector]
            return vectors.flatten(start_dim=1)
        tokens = self._options.tokens(outputs)
        return tokens[:, self._leading :].mean(dim=1) if self._vector == "patches" else tokens[:, 0]


def _skeleton(config: Any) -> tuple[Any, Any]:
    """Build the network that answers for pictures, and what it was configured with."""
    tower = TOWERS.get(config.model_type)
    for name in config.architectures or ():
        tower = name if name in TOWERS.values() else tower  # saved without the tower of the text
    if tower is None:
        network = AutoModel.from_config(config, dtype=torch.float32, trust_remote_code=False)
        return network.eval(), config
    own = copy(getattr(config, "vision_config", config))
    if hasattr(config, "projection_dim"):
        own.projection_dim = config.projection_dim
    return getattr(transformers, tower)(own).eval(), own


def _ask(network: Any, pixels: torch.Tensor, hidden: bool) -> Any:
    """What a network gives for pictures, with its hidden states or without."""
    ask = getattr(network, "get_image_features", network)
    return ask(pixel_values=pixels, output_hidden_states=hidden)


def _own_vector(network: Any, outputs: Any) -> str:
    """Which of the outputs stands for a picture."""
    if "image_embeds" in outputs:
        return "image_embeds"
    if hasattr(getattr(network, "pooler", None), "dense"):
        return "class token"
    if "pooler_output" in outputs:
        return "pooler_output"
    raise ParamsError(
        f"{type(network).__name__} gives no vector for a picture as a whole: choose pooling: "
        "patches or cls"
    )


def _leading(config: Any, outputs: Any, shape: Sequence[int]) -> int:
    """How many tokens stand before those of the patches: class token, registers."""
    own = getattr(config, "vision_config", config)
    side, registers = getattr(own, "patch_size", None), getattr(own, "num_register_tokens", 0)
    tokens = outputs.last_hidden_state.shape[1:-1]
    if len(tokens) == 1 and isinstance(side, int):
        leading = int(tokens[0]) - (shape[1] // side) * (shape[2] // side)
        if leading in (0, 1, 1 + registers) or (leading, config.model_type) == (2, "deit"):
            return leading
    raise ParamsError(
        f"the tokens of a {config.model_type} are not one per patch: choose pooling: pooled"
    )
