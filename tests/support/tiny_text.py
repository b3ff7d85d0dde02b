"""Tiny text networks with their own tokenizers, of fixed random weights, saved as folders."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

TRAINING_TEXTS = [
    "Kids are talking by the door. Dogs are sitting by the door!",
    "I can't believe you did that again, and on my birthday? No. Yes, I am so happy for you.",
    "naïve, 你好, 我很高兴, 他走了 — it rains and the weather is what it was.",
]
"""Training data of the tokenizers: common words become one token, others several."""

SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
END = "<|endoftext|>"


def bert(folder: Path, **more: int) -> Path:
    """BERT: word pieces in lower case between [CLS] and [SEP]."""
    return _bert(folder, word_pieces(), **more)


def _bert(folder: Path, tokenizer: Any, **more: int) -> Path:
    config = transformers.BertConfig(vocab_size=len(tokenizer), **{**SHAPE, **more})
    return save(folder, tokenizer, transformers.BertModel, config)


def sentences(folder: Path) -> Path:
    """BERT as sentence-transformers saves it, with a limit of 24 tokens.

    Like that of all-MiniLM-L6-v2, the tokenizer's file still holds other lengths, of its training.
    """
    settings = {"max_seq_length": 24, "do_lower_case": False}
    (folder / "sentence_bert_config.json").write_text(json.dumps(settings))
    tokenizer = word_pieces()
    tokenizer.backend_tokenizer.enable_truncation(12)
    tokenizer.backend_tokenizer.enable_padding(length=12)
    return _bert(folder, tokenizer)


def fnet(folder: Path) -> Path:
    """FNet, which mixes tokens by a Fourier transform and has no mask."""
    tokenizer = word_pieces()
    config = transformers.FNetConfig(vocab_size=len(tokenizer), **SHAPE)
    return save(folder, tokenizer, transformers.FNetModel, config)


def roberta(folder: Path) -> Path:
    """RoBERTa, which counts positions from the padding token on: 66 positions for 64 tokens."""
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    vocabulary, merges = _pairs(specials, pre_tokenizers.ByteLevel(add_prefix_space=False))
    tokenizer = transformers.RobertaTokenizer(vocab=vocabulary, merges=merges)
    config = transformers.RobertaConfig(
        vocab_size=len(tokenizer), pad_token_id=1, **{**SHAPE, "max_position_embeddings": 66}
    )
    return save(folder, tokenizer, transformers.RobertaModel, config)


def llama(folder: Path) -> Path:
    """Llama with a language-model head: <s> before a text, and no padding token."""
    specials = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    vocabulary, merges = _pairs(specials, pre_tokenizers.Metaspace())
    tokenizer = transformers.LlamaTokenizer(vocab=vocabulary, merges=merges, add_bos_token=True)
    assert tokenizer.pad_token is None
    config = transformers.LlamaConfig(vocab_size=len(tokenizer), num_key_value_heads=2, **SHAPE)
    return save(folder, tokenizer, transformers.LlamaForCausalLM, config)


def qwen2(folder: Path) -> Path:
    """Qwen2 with a language-model head; a text has no special tokens."""
    return _qwen(folder, transformers.Qwen2Config, transformers.Qwen2ForCausalLM)


def qwen3(folder: Path) -> Path:
    """Qwen3: like Qwen2, with normalised queries and keys."""
    return _qwen(folder, transformers.Qwen3Config, transformers.Qwen3Model, head_dim=8)


def qwen3_experts(folder: Path) -> Path:
    """Qwen3 with 16 experts, two per token."""
    config, network = transformers.Qwen3MoeConfig, transformers.Qwen3MoeModel
    experts = {"num_experts": 16, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
    return _qwen(folder, config, network, head_dim=8, **experts)


NETWORKS: dict[str, Callable[[Path], Path]] = {
    "bert": bert,
    "sentences": sentences,
    "fnet": fnet,
    "roberta": roberta,
    "llama": llama,
    "qwen2": qwen2,
    "qwen3": qwen3,
    "qwen3_experts": qwen3_experts,
}


def word_pieces() -> Any:
    """Train a tokenizer like that of BERT."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = Tokenizer(models.WordPiece(unk_token=specials[1]))
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words.train_from_iterator(
        [text.lower() for text in TRAINING_TEXTS],
        trainers.WordPieceTrainer(vocab_size=300, special_tokens=specials, show_progress=False),
    )
    return transformers.BertTokenizer(vocab=words.get_vocab())


def save(folder: Path, tokenizer: Any, network: Any, config: Any, **more: Any) -> Path:
    """Save a tokenizer and a network with random weights, larger than usual initial ones."""
    torch.manual_seed(0)
    config.initializer_range = 0.3
    tokenizer.save_pretrained(folder)
    network(config, **more).save_pretrained(folder)
    return folder


def _qwen(folder: Path, config: Any, network: Any, **more: int) -> Path:
    vocabulary, merges = _pairs([END], pre_tokenizers.ByteLevel(add_prefix_space=False))
    tokenizer = transformers.Qwen2Tokenizer(vocab=vocabulary, merges=merges)
    shape = {**SHAPE, "num_key_value_heads": 2, **more}
    return save(folder, tokenizer, network, config(vocab_size=len(tokenizer), **shape))


def _pairs(specials: Sequence[str], words: Any) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Train byte pair encoding: the vocabulary and the merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = words
    of_bytes = isinstance(words, pre_tokenizers.ByteLevel)
    trainer = trainers.BpeTrainer(
        vocab_size=len(specials) + 400,
        special_tokens=list(specials),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if of_bytes else [],
        show_progress=False,
    )
    tokenizer.train_from_iterator(TRAINING_TEXTS, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [(a, b) for a, b in model["merges"]]
