"""Tiny networks for pictures, of random weights, saved as those on the hub are: with a processor.

The weights have the names that those on the hub have, so that they take the same way back.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    BeitConfig,
    BeitModel,
    ChineseCLIPConfig,
    ChineseCLIPModel,
    CLIPConfig,
    CLIPModel,
    DeiTConfig,
    DeiTModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    MetaClip2Config,
    MetaClip2Model,
    PreTrainedModel,
    ResNetConfig,
    ResNetModel,
    SiglipConfig,
    SiglipModel,
    VideoMAEConfig,
    VideoMAEForVideoClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTMAEConfig,
    ViTMAEModel,
)
from transformers.models.beit.image_processing_pil_beit import BeitImageProcessorPil
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.videomae.image_processing_pil_videomae import VideoMAEImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from ecmf.storage.files import sha256

SIDE, PATCH, DIM, BLOCKS, PROJECTED, REGISTERS, FRAMES = 32, 8, 16, 3, 12, 2, 6

BODY = {
    "hidden_size": DIM,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
EYE = {**BODY, "image_size": SIDE, "patch_size": PATCH}
EAR = {**BODY, "vocab_size": 50, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
SQUARE = {"height": SIDE, "width": SIDE}
CROPPED: dict[str, Any] = {"size": {"shortest_edge": SIDE}, "crop_size": SQUARE}

NETWORKS: dict[str, Callable[[], tuple[PreTrainedModel, Any]]] = {
    "clip": lambda: (
        CLIPModel(CLIPConfig(text_config=EAR, vision_config=EYE, projection_dim=PROJECTED)),
        CLIPImageProcessorPil(**CROPPED),
    ),
    "metaclip_2": lambda: (
        MetaClip2Model(
            MetaClip2Config(text_config=EAR, vision_config=EYE, projection_dim=PROJECTED)
        ),
        CLIPImageProcessorPil(**CROPPED),
    ),
    "chinese_clip": lambda: (
        ChineseCLIPModel(
            ChineseCLIPConfig(text_config=EAR, vision_config=EYE, projection_dim=PROJECTED)
        ),
        CLIPImageProcessorPil(**CROPPED),
    ),
    "siglip": lambda: (
        SiglipModel(SiglipConfig(text_config={**EAR, "projection_size": DIM}, vision_config=EYE)),
        SiglipImageProcessorPil(size=SQUARE),
    ),
    "dinov2": lambda: (Dinov2Model(Dinov2Config(**EYE)), BitImageProcessorPil(**CROPPED)),
    "dinov2_with_registers": lambda: (
        Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**EYE, num_register_tokens=REGISTERS)),
        BitImageProcessorPil(**CROPPED),
    ),
    "vit": lambda: (
        ViTForImageClassification(ViTConfig(**EYE)),
        ViTImageProcessorPil(size=SQUARE),
    ),
    "deit": lambda: (DeiTModel(DeiTConfig(**EYE)), ViTImageProcessorPil(size=SQUARE)),
    "beit": lambda: (
        BeitModel(BeitConfig(**EYE, use_mean_pooling=True, use_relative_position_bias=True)),
        BeitImageProcessorPil(size=SQUARE),
    ),
    "resnet": lambda: (
        ResNetModel(ResNetConfig(embedding_size=4, hidden_sizes=[4, DIM], depths=[1, 1])),
        ViTImageProcessorPil(size=SQUARE),
    ),
    "vit_mae": lambda: (ViTMAEModel(ViTMAEConfig(**EYE)), ViTImageProcessorPil(size=SQUARE)),
    "videomae": lambda: (
        VideoMAEForVideoClassification(
            VideoMAEConfig(**EYE, num_frames=FRAMES, use_mean_pooling=False)
        ),
        VideoMAEImageProcessorPil(**CROPPED),
    ),
}
"""What makes a network and its processor, by the `model_type` of its configuration."""


def save(name: str, folder: Path) -> dict[str, Any]:
    """Save a tiny network with random weights; give the options that name it."""
    network, processor = NETWORKS[name]()
    noise = torch.Generator().manual_seed(0)
    for weight in network.parameters():  # the usual start leaves much at 0, and all pictures alike
        torch.nn.init.normal_(weight, std=0.3, generator=noise)
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    return named(folder)


def named(folder: Path) -> dict[str, Any]:
    """The options that name a folder as it is now."""
    return {"folder": str(folder), "sha256": sha256(folder)}
