"""Find the texts in a language that a plugin cannot read, before a stage starts.

A plugin that reads only some languages lists them in its constant `LANGUAGES`, as ISO 639-1 codes;
one without the constant reads any. The language of a clip is that of the manifest. Where there is
none, only the script of the letters is checked: a text in Cyrillic letters is not English, but one
in Latin letters may be French.
"""

import logging
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from ecmf import registry
from ecmf.data.manifest import Clip
from ecmf.errors import ParamsError

ALIASES: Mapping[str, str] = {
    "eng": "en", "english": "en",
    "chi": "zh", "chinese": "zh", "cmn": "zh", "mandarin": "zh", "zho": "zh",
}  # fmt: skip
"""Other names of a language -> its code."""

SCRIPTS: Mapping[str, str] = {"en": "LATIN", "zh": "CJK"}
"""Code of a language -> start of the Unicode names of its letters."""

MAX_UNREADABLE = 0.5
"""Fraction of the texts above which a plugin is refused; fewer unreadable ones are a warning."""

UNNAMED = "no language, but unknown letters or words"

log = logging.getLogger(__name__)


def language_code(language: str) -> str:
    """Return the code of a language without its region: `zh` for `zh-CN`, `cmn` and `Chinese`."""
    name = language.lower().replace("_", "-").partition("-")[0]
    return ALIASES.get(name, name)


def languages_of(family: str, name: str) -> tuple[str, ...]:
    """Return the languages that a plugin reads; empty for any."""
    languages: tuple[str, ...] = getattr(registry.load(family, name), "LANGUAGES", ())
    return languages


def is_unreadable(text: str, language: str, languages: Sequence[str]) -> bool:
    """Return whether a text is in none of `languages`; False if they are empty, i.e. any."""
    if not languages or not text.strip():
        return False
    if language:
        return language_code(language) not in languages
    scripts = tuple(SCRIPTS[code] for code in languages if code in SCRIPTS)
    letters = [unicodedata.name(char, "") for char in text if char.isalpha()]
    known = sum(name.startswith(scripts) for name in letters)
    return len(scripts) == len(languages) and 2 * known < len(letters)


def unreadable_transcripts(clips: Iterable[Clip], languages: Sequence[str]) -> dict[str, str]:
    """Return clip id -> language of each transcript in none of `languages`, "" if not known."""
    return {
        clip.clip_id: clip.language
        for clip in clips
        if is_unreadable(clip.transcript, clip.language, languages)
    }


def count_transcripts(clips: Iterable[Clip]) -> int:
    """Count the clips with a transcript."""
    return sum(bool(clip.transcript.strip()) for clip in clips)


def are_refused(unreadable: Mapping[str, str], texts: int) -> bool:
    """Return whether too many of so many texts are unreadable for a stage to start."""
    return len(unreadable) > MAX_UNREADABLE * texts


def describe_unreadable(
    where: str, name: str, languages: Sequence[str], unreadable: Mapping[str, str], texts: int
) -> str:
    """Say which plugin does not read which texts, with their numbers by language and an example.

    `languages` are those that the plugin reads; empty if its vocabulary lacks the words.
    """
    counts = Counter(language or UNNAMED for language in unreadable.values())
    reads = f"reads {' and '.join(languages)} only" if languages else "does not know these words"
    return (
        f"{where}: {name} {reads}, and {len(unreadable)} of {texts} texts are another language "
        f"({', '.join(f'{count} {language}' for language, count in counts.most_common())}), "
        f"e.g. of clip {next(iter(unreadable))!r}"
    )


def check_languages(
    where: str, family: str, name: str, unreadable: Mapping[str, str], texts: int
) -> None:
    """Refuse a plugin that cannot read most of the texts; warn if it cannot read some.

    Args:
        where: Place of the plugin in `params.yaml`.
        family: Family of the plugin.
        name: The plugin.
        unreadable: Clip id -> language of each text that it cannot read, "" if not known.
        texts: Number of all texts that are not empty.

    Raises:
        ParamsError: more than `MAX_UNREADABLE` of the texts are unreadable.
    """
    if not unreadable:
        return
    message = describe_unreadable(where, name, languages_of(family, name), unreadable, texts)
    if not are_refused(unreadable, texts):
        log.warning("%s: their features or cues are worth little", message)
        return
    others = [
        other
        for other in registry.names(family)
        if other != name and not languages_of(family, other)
    ]
    raise ParamsError(
        f"{message}: choose weights of that language or another plugin ({', '.join(others)}), or a "
        "preset for that language (`ecmf preset` lists them); a wrong language in the manifest is "
        "corrected in its column `language`"
    )
