"""Class probabilities of the language model of `enrich_text`: one row per clip, no weights.

The model never saw the labels of the corpus, so the rows need no out-of-fold prediction. Where its
probabilities also vote on the training labels (`refine_labels`), a fusion may learn to repeat them;
`-S ++refine_labels.options.vote.llm=0` takes that vote away.

The lexicon gives no probabilities. A clip without an answer has no row.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ecmf.config import Section
from ecmf.data.enriched_text import EnrichedText, answering_models
from ecmf.errors import ParamsError
from ecmf.media import Features, Text

NEEDS = "class probabilities: enrich_text.provider openai or transformers"


class Options(Section):
    """No options."""


class Encoder:
    """Return the probabilities of each clip's record, the classes in alphabetical order."""

    reads_media: ClassVar[bool] = False
    reads_records: ClassVar[bool] = True

    def __init__(self, options: Options, records: Sequence[EnrichedText]) -> None:
        """Collect the probabilities; raises ParamsError if no record has any."""
        self._probabilities = {
            record.clip_id: record.probabilities for record in records if record.probabilities
        }
        if not self._probabilities:
            providers = ", ".join(sorted({record.provider for record in records})) or "no provider"
            raise ParamsError(
                f"llm_probabilities: none of the {len(records)} enriched texts has class "
                f"probabilities (enrich_text.provider: {providers}): set it to openai or "
                "transformers, or remove the encoder from encode_text.encoders"
            )
        self._classes = sorted(set().union(*self._probabilities.values()))
        self.dim = len(self._classes)
        self.provenance: Mapping[str, Any] = {
            "columns": self._classes,
            "answered_by": answering_models(records),
        }

    def __call__(self, clips: Sequence[Text]) -> list[Features]:
        """Look up each clip."""
        return [self._features(self._probabilities.get(clip.clip_id)) for clip in clips]

    def _features(self, probabilities: Mapping[str, float] | None) -> Features:
        if probabilities is None:
            return Features(np.empty((0, self.dim), "float32"), np.empty(0))
        row = [probabilities.get(name, 0.0) for name in self._classes]
        return Features(np.array([row], "float32"), np.zeros(1))
