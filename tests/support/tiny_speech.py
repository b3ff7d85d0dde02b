"""Tiny speech networks with random weights, saved as the real ones are published."""

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
    Wav2Vec2ForCTC,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperModel,
)

from ecmf.storage.files import sha256

BLOCKS = 4
WAVEFORM_SHAPE: Mapping[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 32,
    "num_conv_pos_embedding_groups": 2,
}
"""Kernels and strides are the real ones: a step depends on 400 samples, 320 are the hop."""

BASE: Mapping[str, Any] = {"feat_extract_norm": "group", "do_stable_layer_norm": False}
LARGE: Mapping[str, Any] = {
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "conv_bias": True,
}


def save(folder: Path, model: Any, extractor: Any) -> dict[str, Any]:
    """Save a model whose every weight is random, none left at 0 or 1; return its options."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in model.parameters():
            weights += 0.1 * torch.randn(weights.shape, generator=generator)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer += 1
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return options(folder)


def options(folder: Path) -> dict[str, Any]:
    return {"folder": str(folder), "sha256": sha256(folder)}


def waveform_network(
    config: Any, model: Any, style: Mapping[str, Any]
) -> Callable[..., dict[str, Any]]:
    def build(folder: Path, **extractor: Any) -> dict[str, Any]:
        torch.manual_seed(0)
        large = style.get("feat_extract_norm") != "group"
        settings = {"do_normalize": True, "return_attention_mask": large, **extractor}
        network = model(config(**{**WAVEFORM_SHAPE, **style}))
        return save(folder, network, Wav2Vec2FeatureExtractor(**settings))

    return build


hubert_base = waveform_network(HubertConfig, HubertModel, BASE)
hubert_large = waveform_network(HubertConfig, HubertModel, LARGE)
hubert_batch_norm = waveform_network(
    HubertConfig, HubertModel, {**LARGE, "conv_pos_batch_norm": True}
)
wav2vec2_base = waveform_network(Wav2Vec2Config, Wav2Vec2Model, BASE)
wav2vec2_large = waveform_network(Wav2Vec2Config, Wav2Vec2Model, LARGE)
wavlm_base = waveform_network(WavLMConfig, WavLMModel, BASE)
wavlm_large = waveform_network(WavLMConfig, WavLMModel, LARGE)
recogniser = waveform_network(Wav2Vec2Config, Wav2Vec2ForCTC, {**LARGE, "vocab_size": 9})
"""With the head of a CTC recogniser of 9 symbols, as fine-tuned weights are published."""

data2vec = waveform_network(
    Data2VecAudioConfig,
    Data2VecAudioModel,
    {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 7, "feat_extract_norm": "layer"},
)


def whisper(folder: Path, **settings: Any) -> dict[str, Any]:
    """Save a Whisper that takes 2 s, while published ones take 30."""
    torch.manual_seed(0)
    config = WhisperConfig(
        num_mel_bins=16, d_model=16, encoder_layers=BLOCKS, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32,
        decoder_ffn_dim=32, max_source_positions=100, max_target_positions=8, vocab_size=16,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=2, **settings)
    return save(folder, WhisperModel(config), extractor)


def ast(folder: Path) -> dict[str, Any]:
    """Save an AST that takes 2 s, while published ones take 10."""
    torch.manual_seed(0)
    config = ASTConfig(
        hidden_size=16, num_hidden_layers=BLOCKS, num_attention_heads=2, intermediate_size=32,
        max_length=204,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of the published 128 filters are empty
        extractor = ASTFeatureExtractor(max_length=204)
    return save(folder, ASTModel(config), extractor)


NETWORKS: Mapping[str, Callable[..., dict[str, Any]]] = {
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
