"""Encode text with a pretrained encoder or decoder: BERT, MacBERT, RoBERTa, Llama, Qwen, ...

The field's utterance features (MERTools, extract_text_huggingface.py) are the `layers` [-4, -3, -2,
-1] with `special_tokens: false`. The latter matters most for Llama: the token before a text holds
values far beyond all others (Sun et al. 2024, Massive Activations in Large Language Models). A
sentence model (Reimers & Gurevych 2019) needs the `pooling` and `normalise` of its model card; a
dense layer after that, in a folder of its own, is not computed.

Layer -1 is the network's `last_hidden_state`: for Llama and Qwen it is after the final norm, unlike
the layers before it.

Code of a repository is never run, so Baichuan as it is published is refused; a checkpoint converted
to the architecture of Llama works.
"""

from ecmf.encoding.text_transformer import PoolingOptions, TextNetwork
from ecmf.pretrained import transformers_model
from ecmf.pretrained.weights import Weights

WEIGHTS_LICENCE = "that of the repository"
NEEDS = "a repository of the hub, fetched once, or a folder of weights"


class Options(Weights, PoolingOptions):
    """Weights with their tokenizer, rows, layers and pooling."""


class Encoder(TextNetwork):
    """Encode each text as one row or one per token; beyond `max_tokens` it is cut and logged."""

    def __init__(self, options: Options) -> None:
        super().__init__(transformers_model.locate(options), options)
