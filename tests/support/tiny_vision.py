"""Tiny image networks with random weights, saved with a processor as those on the hub.

Their weights have the names of those on the hub, so that they are loaded in the same way.
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

SHAPE = {
    "hidden_size": DIM,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
VISION = {**SHAPE, "image_size": SIDE, "patch_size": PATCH}
TEXT = {**SHAPE, "vocab_size": 50, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
SQUARE = {"height": SIDE, "width": SIDE}
CROPPED: dict[str, Any] = {"size": {"shortest_edge": SIDE}, "crop_size": SQUARE}

NETWORKS: dict[str, Callable[[], tuple[PreTrainedModel, Any]]] = {
    "clip": lambda: (
        CLIPModel(CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=PROJECTED)),
        CLIPImageProcessorPil(**CROPPED),
    ),
    "metaclip_2": lambda: (
        MetaClip2Model(
            MetaClip2Config(text_config=TEXT, vision_config=VISION, projection_dim=PROJECTED)
        ),
        CLIPImageProcessorPil(**CROPPED),
    ),
    "chinese_clip": lambda: (
        ChineseCLIPModel(
            ChineseCLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=PROJECTED)
        ),
        CLIPImageProcessorPil(**CROPPED),
    ),
    "siglip": lambda: (
        SiglipModel(
            SiglipConfig(text_config={**TEXT, "projection_size": DIM}, vision_config=VISION)
        ),
        SiglipImageProcessorPil(size=SQUARE),
    ),
    "dinov2": lambda: (Dinov2Model(Dinov2Config(**VISION)), BitImageProcessorPil(**CROPPED)),
    "dinov2_with_registers": lambda: (
        Dinov2WithRegistersModel(
            Dinov2WithRegistersConfig(**VISION, num_register_tokens=REGISTERS)
        ),
        BitImageProcessorPil(**CROPPED),
    ),
    "vit": lambda: (
        ViTForImageClassification(ViTConfig(**VISION)),
        ViTImageProcessorPil(size=SQUARE),
    ),
    "deit": lambda: (DeiTModel(DeiTConfig(**VISION)), ViTImageProcessorPil(size=SQUARE)),
    "beit": lambda: (
        BeitModel(BeitConfig(**VISION, use_mean_pooling=True, use_relative_position_bias=True)),
        BeitImageProcessorPil(size=SQUARE),
    ),
    "resnet": lambda: (
        ResNetModel(ResNetConfig(embedding_size=4, hidden_sizes=[4, DIM], depths=[1, 1])),
        ViTImageProcessorPil(size=SQUARE),
    ),
    "vit_mae": lambda: (ViTMAEModel(ViTMAEConfig(**VISION)), ViTImageProcessorPil(size=SQUARE)),
    "videomae": lambda: (
        VideoMAEForVideoClassification(
            VideoMAEConfig(**VISION, num_frames=FRAMES, use_mean_pooling=False)
        ),
        VideoMAEImageProcessorPil(**CROPPED),
    ),
}
"""`model_type` of a configuration -> constructor of a network and its processor."""


def save(name: str, folder: Path) -> dict[str, Any]:
    """Save a tiny network with random weights and return the options that load it."""
    network, processor = NETWORKS[name]()
    noise = torch.Generator().manual_seed(0)
    for weight in network.parameters():  # usual ones are often 0, and images alike
        torch.nn.init.normal_(weight, std=0.3, generator=noise)
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    return options(folder)


def options(folder: Path) -> dict[str, Any]:
    """Return the options that load a folder with its current content."""
    return {"folder": str(folder), "sha256": sha256(folder)}
