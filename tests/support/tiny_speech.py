"""Networks that hear, a few thousand random weights each, saved as the real ones are published."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTModel,
    Data2VecAudioConfig,
    Data2VecAudioModel,
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperModel,
)

from ecmf.storage.files import sha256

BLOCKS = 4
CONVOLVED: Mapping[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 32,
    "num_conv_pos_embedding_groups": 2,
}
"""Kernels and strides are the real ones: 400 samples to a step, 320 from one to the next."""

BASE: Mapping[str, Any] = {"feat_extract_norm": "group", "do_stable_layer_norm": False}
LARGE: Mapping[str, Any] = {
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "conv_bias": True,
}


def saved(folder: Path, model: Any, extractor: Any) -> dict[str, Any]:
    """Save a model whose every weight is random, none left at 0 or 1; return its options."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in model.parameters():
            weights += 0.1 * torch.randn(weights.shape, generator=generator)
        for name, learned in model.named_buffers():
            if name.endswith("running_mean"):
                learned += 1
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return options(folder)


def options(folder: Path) -> dict[str, Any]:
    return {"folder": str(folder), "sha256": sha256(folder)}


def convolved(config: Any, model: Any, style: Mapping[str, Any]) -> Callable[..., dict[str, Any]]:
    def build(folder: Path, **extractor: Any) -> dict[str, Any]:
        torch.manual_seed(0)
        large = style.get("feat_extract_norm") != "group"
        settings = {"do_normalize": True, "return_attention_mask": large, **extractor}
        made = model(config(**{**CONVOLVED, **style}))
        return saved(folder, made, Wav2Vec2FeatureExtractor(**settings))

    return build


hubert_base = convolved(HubertConfig, HubertModel, BASE)
hubert_large = convolved(HubertConfig, HubertModel, LARGE)
hubert_batch_norm = convolved(HubertConfig, HubertModel, {**LARGE, "conv_pos_batch_norm": True})
wav2vec2_base = convolved(Wav2Vec2Config, Wav2Vec2Model, BASE)
wav2vec2_large = convolved(Wav2Vec2Config, Wav2Vec2Model, LARGE)
wavlm_base = convolved(WavLMConfig, WavLMModel, BASE)
wavlm_large = convolved(WavLMConfig, WavLMModel, LARGE)
data2vec = convolved(
    Data2VecAudioConfig,
    Data2VecAudioModel,
    {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 7, "feat_extract_norm": "layer"},
)


def whisper(folder: Path, **settings: Any) -> dict[str, Any]:
    """Hears 2 s at once where the published ones hear 30."""
    torch.manual_seed(0)
    config = WhisperConfig(
        num_mel_bins=16, d_model=16, encoder_layers=BLOCKS, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32,
        decoder_ffn_dim=32, max_source_positions=100, max_target_positions=8, vocab_size=16,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=2, **settings)
    return saved(folder, WhisperModel(config), extractor)


def ast(folder: Path) -> dict[str, Any]:
    """Hears 2 s at once where the published ones hear 10."""
    torch.manual_seed(0)
    config = ASTConfig(
        hidden_size=16, num_hidden_layers=BLOCKS, num_attention_heads=2, intermediate_size=32,
        max_length=204,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of the published 128 filters are empty
        extractor = ASTFeatureExtractor(max_length=204)
    return saved(folder, ASTModel(config), extractor)


ALL: Mapping[str, Callable[..., dict[str, Any]]] = {
    "hubert_base": hubert_base,
    "hubert_large": hubert_large,
    "hubert_batch_norm": hubert_batch_norm,
    "wav2vec2_base": wav2vec2_base,
    "wav2vec2_large": wav2vec2_large,
    "wavlm_base": wavlm_base,
    "wavlm_large": wavlm_large,
    "data2vec": data2vec,
    "whisper": whisper,
    "ast": ast,
}
