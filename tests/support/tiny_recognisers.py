"""Tiny recognisers of speech whose output is set by hand, saved as the real ones are published."""

import json
from pathlib import Path
from typing import Any

import tiny_speech
import torch
from tokenizers import pre_tokenizers
from transformers import (
    GenerationConfig,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)

LETTERS = ("<pad>", "<unk>", "|", "A", "B", "H")


def ctc(folder: Path, symbol: str) -> dict[str, Any]:
    """Save a wav2vec2 that hears `symbol` in every step; "<pad>" is the blank."""
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        **{**tiny_speech.WAVEFORM_SHAPE, **tiny_speech.LARGE, "vocab_size": len(LETTERS),
           "pad_token_id": 0}
    )  # fmt: skip
    network = Wav2Vec2ForCTC(config)
    with torch.no_grad():
        network.lm_head.weight.zero_()
        network.lm_head.bias.zero_()
        network.lm_head.bias[LETTERS.index(symbol)] = 5.0
    folder.mkdir(exist_ok=True)
    vocabulary = folder / "vocab.json"
    vocabulary.write_text(json.dumps({letter: i for i, letter in enumerate(LETTERS)}))
    Wav2Vec2CTCTokenizer(str(vocabulary), bos_token=None, eos_token=None).save_pretrained(folder)
    network.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    return tiny_speech.options(folder)


SPECIAL = (
    "<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|pl|>", "<|transcribe|>",
    "<|translate|>", "<|nospeech|>", "<|notimestamps|>",
)  # fmt: skip


def whisper(folder: Path, logits: dict[str, float], new_tokens: int = 1) -> dict[str, Any]:
    """Save a Whisper that takes 2 s, with these constant scores of tokens and 0 for all others.

    It writes the best token up to `new_tokens` times. "Ġhello" is a token with its space.
    """
    torch.manual_seed(0)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*alphabet, "he", "ll", "hell", "hello", "Ġhello"]
    vocabulary = {word: i for i, word in enumerate(words)}
    merges = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("Ġ", "hello")]
    vocabulary |= {name: len(words) + i for i, name in enumerate(SPECIAL)}
    tokenizer = WhisperTokenizer(vocab=vocabulary, merges=merges)
    tokenizer.add_special_tokens({"extra_special_tokens": list(SPECIAL[1:])})
    config = WhisperConfig(
        num_mel_bins=16, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
        max_source_positions=100, max_target_positions=4 + new_tokens, vocab_size=len(vocabulary),
        pad_token_id=vocabulary[SPECIAL[0]], bos_token_id=vocabulary[SPECIAL[0]],
        eos_token_id=vocabulary[SPECIAL[0]], decoder_start_token_id=vocabulary[SPECIAL[1]],
        suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    network = WhisperForConditionalGeneration(config)
    decoder = network.model.decoder
    with torch.no_grad():  # the last state is (1, 0, 0, …), so the first column has the scores
        decoder.layer_norm.weight.zero_()
        decoder.layer_norm.bias.zero_()
        decoder.layer_norm.bias[0] = 1.0
        decoder.embed_tokens.weight[:, 0] = 0.0
        for token, score in logits.items():
            decoder.embed_tokens.weight[vocabulary[token], 0] = score
    network.generation_config = GenerationConfig(
        decoder_start_token_id=config.decoder_start_token_id, eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id, max_length=config.max_target_positions,
        suppress_tokens=[vocabulary[name] for name in SPECIAL[1:]],
        is_multilingual=True, lang_to_id={name: vocabulary[name] for name in SPECIAL[2:4]},
        task_to_id={name.strip("<|>"): vocabulary[name] for name in SPECIAL[4:6]},
        no_timestamps_token_id=vocabulary[SPECIAL[-1]],
    )  # fmt: skip
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=16, chunk_length=2).save_pretrained(folder)
    return tiny_speech.options(folder)
