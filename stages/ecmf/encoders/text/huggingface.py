"""Hidden states of an encoder or a decoder of text: BERT, MacBERT, RoBERTa, Llama, Qwen, ...

The field's utterance features (MERTools, extract_text_huggingface.py) are the `layers` [-4, -3, -2,
-1] with `special_tokens: false`, which of Llama matters most: the token before a text holds values
far beyond all others (Sun et al. 2024, Massive Activations in Large Language Models). A sentence
model (Reimers & Gurevych 2019) wants the `pooling` and `normalise` of its card; a dense layer that
comes after that, in a folder of its own, is not computed here.

Layer -1 is what the network calls its last hidden state: of Llama and Qwen after the final norm,
which no layer before it has gone through.

Code of a repository is never run, so Baichuan as it is published is refused; a checkpoint converted
to the architecture of Llama works.
"""

from ecmf.encoding.text_transformer import Reading, TextNetwork
from ecmf.pretrained import transformers_model
from ecmf.pretrained.weights import Weights


class Options(Weights, Reading):
    """Where the weights and their tokenizer are, and how a text becomes a vector."""


class Encoder(TextNetwork):
    """Texts in, one row per text out; a text longer than `longest` tokens is cut and logged."""

    def __init__(self, options: Options) -> None:
        super().__init__(transformers_model.locate(options), options)
