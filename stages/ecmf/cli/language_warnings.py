"""Warn of plugins of text that do not read the language of the clips, with what to choose instead.

The rule is that of the stages (`data/languages.py`), but for words that a vocabulary lacks: those
are found when the weights are loaded.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ecmf.cli.plugin_catalogue import plugin
from ecmf.data.languages import (
    are_refused,
    count_transcripts,
    describe_unreadable,
    unreadable_transcripts,
)
from ecmf.data.manifest import Clip
from ecmf.params import Params

PROVIDERS, ENCODERS = "llms", "encoders.text"

ANY_PROVIDER = "-S enrich_text.provider=transformers"
"""A chat model in this process, of many languages; `params.yaml` names its repository."""

ANY_ENCODER = "-S '++{where}={{encoder: huggingface, repository: FacebookAI/xlm-roberta-base}}'"
"""A network trained on 100 languages (Conneau et al. 2020); other options of the entry stay."""


class LanguageWarning(NamedTuple):
    """A message, and the arguments of `dvc exp run` without which a stage would stop."""

    text: str
    changes: list[str]


def language_warnings(clips: Sequence[Clip], params: Params) -> Iterator[LanguageWarning]:
    """Yield a warning for each chosen provider and encoder that does not read all transcripts."""
    texts = count_transcripts(clips)
    for family, name, places in _text_plugins(params):
        languages = plugin(family, name).languages
        unreadable = unreadable_transcripts(clips, languages)
        if not unreadable:
            continue
        found = describe_unreadable(", ".join(places), name, languages, unreadable, texts)
        changes = [_change(family, place) for place in places]
        if are_refused(unreadable, texts):
            text = f"{found}: the stage would stop, so plugins of many languages are set below"
            yield LanguageWarning(text, changes)
        else:
            text = f"{found}: little is learned from these; to read them: {' '.join(changes)}"
            yield LanguageWarning(text, [])


def _text_plugins(params: Params) -> Iterator[tuple[str, str, list[str]]]:
    """Yield the family and the name of each plugin that reads text, and where it is chosen."""
    yield PROVIDERS, params.enrich_text.provider, ["enrich_text.provider"]
    places = defaultdict(list)
    for source, choice in params.encode_text.encoders.items():
        places[choice.encoder].append(f"encode_text.encoders.{source}")
    for name, chosen in places.items():
        yield ENCODERS, name, chosen


def _change(family: str, where: str) -> str:
    return ANY_PROVIDER if family == PROVIDERS else ANY_ENCODER.format(where=where)
