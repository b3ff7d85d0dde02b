"""MMSA: one pickle {train, valid, test} of arrays, padded to one length (github.com/thuiar/MMSA).

    id               "video$_$clip" each
    text             (clips, steps, dim), `text_bert` (clips, 3, steps) its tokens and their mask
    audio, vision    (clips, steps, dim), `audio_lengths` and `vision_lengths` where not aligned

Only `text`, `audio` and `vision` are features: labels and raw text are those of the manifest, and
so are the splits. Padding behind is cut by the lengths. Padding in front, and any where no lengths
are given, is zeros, which stand for nothing anyway. MMSA does not name the encoder: it goes by the
name of the pickle.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ecmf.errors import ClipError, CorpusError, MissingFileError
from ecmf.importing.base import ForeignSource, Read, Renaming
from ecmf.importing.safe_pickle import load_plain
from ecmf.params import Branch

MODALITIES: Mapping[str, Branch] = {"text": "text", "audio": "audio", "vision": "face"}
BERT_MASK = 1
"""Row of `text_bert` that is 1 for each token and 0 for padding."""

Split = Mapping[str, Any]


class Layout:
    """Reads the pickle as plain data: no code in it is run."""

    renamings: ClassVar[Sequence[Renaming]] = (Renaming(r"(.+)\$_\$(.+)", r"\1_\2"),)

    def sources(self, path: Path) -> Iterator[ForeignSource]:
        """Yield what there is of text, audio and vision."""
        if not path.is_file():
            raise MissingFileError(f"no file {path}: name the pickle itself")
        content = load_plain(path)
        splits = _splits(path, content)
        found = [name for name in MODALITIES if any(name in split for split in splits.values())]
        if not found:
            raise CorpusError(f"{path} has none of {', '.join(MODALITIES)} in any split")
        for name in found:
            yield ForeignSource(f"{path.stem}-{name}", MODALITIES[name], _clips(path, splits, name))


def _splits(path: Path, content: Any) -> dict[str, Split]:
    if not isinstance(content, dict):
        raise CorpusError(f"{path} holds a {type(content).__name__}, not a dict of splits")
    splits: dict[str, Split] = {
        str(k): v for k, v in content.items() if isinstance(v, dict) and "id" in v
    }
    if not splits:
        there = ", ".join(repr(key) for key in list(content)[:5]) or "nothing"
        raise CorpusError(f"{path} has no split with ids, but {there}: is it a file of MMSA?")
    return splits


def _clips(path: Path, splits: Mapping[str, Split], name: str) -> Iterator[tuple[str, Read]]:
    for split_name, split in splits.items():
        if name not in split:
            continue
        where = f"{path}, {split_name}"
        ids = _listed(f"{where}: id", split["id"])
        rows = _listed(f"{where}: {name}", split[name], len(ids))
        lengths = _lengths(where, split, name, len(ids))
        for place, foreign_id in enumerate(ids):
            if not isinstance(foreign_id, str):
                raise CorpusError(f"{where}: id {place} is {foreign_id!r}, not text")
            length = None if lengths is None else lengths[place]
            yield str(foreign_id), partial(_unpadded, rows, place, length)


def _listed(where: str, given: Any, count: int | None = None) -> Sequence[Any]:
    if not isinstance(given, (list, tuple)) and not (isinstance(given, np.ndarray) and given.ndim):
        raise CorpusError(f"{where} is a {type(given).__name__}, not an array or a list")
    if count is not None and len(given) != count:
        raise CorpusError(f"{where} has {len(given)} entries, but there are {count} ids")
    return given  # type: ignore[return-value]


def _lengths(where: str, split: Split, name: str, count: int) -> list[int] | None:
    """How many steps of each clip are not padding, where the file says so."""
    key = f"{name}_lengths"
    said = split.get(key)
    if said is None and name == "text":
        key, said = "text_bert", _tokens(split)
    if said is None:
        return None
    try:
        lengths = [int(length) for length in _listed(f"{where}: {key}", said, count)]
    except (TypeError, ValueError, OverflowError) as error:
        raise CorpusError(f"{where}: {key} holds no whole numbers: {error}") from error
    if min(lengths, default=0) < 0:
        raise CorpusError(f"{where}: {key} has {min(lengths)}, less than nothing")
    return lengths


def _tokens(split: Split) -> NDArray[Any] | None:
    """Count the tokens of each clip, where these are the steps of its text."""
    text, tokens = split["text"], split.get("text_bert")
    if not isinstance(text, np.ndarray) or not isinstance(tokens, np.ndarray):
        return None
    if tokens.dtype.kind not in "biuf" or tokens.shape[1:] != (3, *text.shape[1:2]):
        return None
    return np.asarray(tokens[:, BERT_MASK].sum(axis=1))


def _unpadded(clips: Sequence[Any], place: int, length: int | None) -> NDArray[Any]:
    try:
        rows = np.asarray(clips[place])
    except ValueError as error:
        raise ClipError(f"holds no plain array of numbers: {error}") from error
    if length is None or rows.ndim != 2 or rows.dtype.kind not in "biuf":
        return rows
    padded_in_front = len(rows) > 0 and rows[-1].any() and not rows[0].any()
    return rows if padded_in_front else rows[:length]
