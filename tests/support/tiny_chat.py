"""A small chat model, random but always the same: ChatML, as Qwen's and many others speak it."""

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
    """Qwen2 with room for 8,192 tokens; `shape` are further values of its configuration."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_text.qwen2(folder))
    tokenizer.add_special_tokens(
        {"eos_token": END_OF_TURN, "extra_special_tokens": [TURN]},
    )
    tokenizer.chat_template = template
    config = transformers.Qwen2Config(
        vocab_size=len(tokenizer) + 7,  # as is usual, the network has more than the tokenizer
        eos_token_id=tokenizer.eos_token_id,
        num_key_value_heads=2,
        **{**tiny_text.SHAPE, "max_position_embeddings": 8192, **shape},
    )
    return tiny_text.save(folder, tokenizer, transformers.Qwen2ForCausalLM, config)


LIKED = '"x].,}50'
"""Signs, the first most of all."""

EVEN = '{"cues":["x"],"paraphrase":"x","probabilities":{"angry":0.5,"happy":0.5}}'


def even_handed(folder: Path) -> Path:
    """A chat model that likes some signs better than others, whatever it reads.

    Held to the schema of an answer for the classes angry and happy, it writes EVEN.
    """
    return _passing_on(folder, {sign: 9.0 - rank for rank, sign in enumerate(LIKED)})


def parrot(folder: Path, reply: str) -> Path:
    """A chat model with one long token, `reply`, that it writes after anything, and then ends.

    That token is read as the opposite of all others, so the likes turn round behind it.
    """
    return _passing_on(folder, {reply: 1.0, END_OF_TURN: -1.0}, turning=reply)


def _passing_on(folder: Path, likes: dict[str, float], turning: str = "") -> Path:
    """Let every layer pass on the one vector that every token is read as."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(chat(folder))
    tokenizer.add_tokens([turning] if turning else [])
    network = transformers.AutoModelForCausalLM.from_pretrained(folder, tie_word_embeddings=False)
    with torch.no_grad():
        for layer in network.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        network.model.embed_tokens.weight.fill_(1.0)
        network.lm_head.weight.zero_()
        for sign, liking in likes.items():
            network.lm_head.weight[tokenizer.convert_tokens_to_ids(sign)] = liking
        if turning:
            network.model.embed_tokens.weight[tokenizer.convert_tokens_to_ids(turning)] = -1.0
    tokenizer.save_pretrained(folder)
    network.save_pretrained(folder)
    return folder
