"""Small chat models with fixed random or hand-set weights, in ChatML like Qwen's."""

from pathlib import Path
from typing import Any

import tiny_text
import torch
import transformers

TURN, END_OF_TURN = "<|im_start|>", "<|im_end|>"

CHATML = (
    "{% for message in messages %}"
    f"{{{{ '{TURN}' + message.role + '\\n' + message.content + '{END_OF_TURN}\\n' }}}}"
    "{% endfor %}"
    f"{{% if add_generation_prompt %}}{{{{ '{TURN}assistant\\n' }}}}{{% endif %}}"
)


def chat(folder: Path, *, template: str | None = CHATML, **shape: Any) -> Path:
    """Save a random Qwen2 with 8,192 positions; `shape` overrides its configuration."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_text.qwen2(folder))
    tokenizer.add_special_tokens(
        {"eos_token": END_OF_TURN, "extra_special_tokens": [TURN]},
    )
    tokenizer.chat_template = template
    config = transformers.Qwen2Config(
        vocab_size=len(tokenizer) + 7,  # as is common, more logits than tokens
        eos_token_id=tokenizer.eos_token_id,
        num_key_value_heads=2,
        **{**tiny_text.SHAPE, "max_position_embeddings": 8192, **shape},
    )
    return tiny_text.save(folder, tokenizer, transformers.Qwen2ForCausalLM, config)


PREFERRED = '"x].,}50'
"""Characters in order of preference."""

EVEN = '{"cues":["x"],"paraphrase":"x","probabilities":{"angry":0.5,"happy":0.5}}'


def even_handed(folder: Path) -> Path:
    """Save a chat model with constant logits that prefer the characters of PREFERRED.

    Constrained to the schema of an answer for the classes angry and happy, it writes EVEN.
    """
    return _constant(folder, {char: 9.0 - rank for rank, char in enumerate(PREFERRED)})


def parrot(folder: Path, reply: str) -> Path:
    """Save a chat model that always writes the one long token `reply` and then ends.

    The embedding of that token is the negative of all others, so it flips the sign of the logits.
    """
    return _constant(folder, {reply: 1.0, END_OF_TURN: -1.0}, flipping=reply)


def _constant(folder: Path, logits: dict[str, float], flipping: str = "") -> Path:
    """Save a model in which all tokens share one embedding and every layer is the identity."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(chat(folder))
    tokenizer.add_tokens([flipping] if flipping else [])
    network = transformers.AutoModelForCausalLM.from_pretrained(folder, tie_word_embeddings=False)
    with torch.no_grad():
        for layer in network.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        network.model.embed_tokens.weight.fill_(1.0)
        network.lm_head.weight.zero_()
        for token, logit in logits.items():
            network.lm_head.weight[tokenizer.convert_tokens_to_ids(token)] = logit
        if flipping:
            network.model.embed_tokens.weight[tokenizer.convert_tokens_to_ids(flipping)] = -1.0
    tokenizer.save_pretrained(folder)
    network.save_pretrained(folder)
    return folder
