"""Read the features of MMSA: a pickle {train, valid, test} of padded arrays.

    id               "video$_$clip" each
    text             (clips, steps, dim); `text_bert` (clips, 3, steps): tokens and padding mask
    audio, vision    (clips, steps, dim); `audio_lengths` and `vision_lengths` if not aligned

(github.com/thuiar/MMSA.) Only `text`, `audio` and `vision` are read: labels, raw text and splits
are those of the manifest. Padding at the end is cut by the lengths. Padding at the start, or
without lengths, consists of rows of zeros, which the import leaves out. MMSA does not record the
encoder, so it is named after the pickle.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ecmf.errors import ClipError, CorpusError, MissingFileError
from ecmf.importing.base import ExternalFeatures, IdMapping, LoadRows
from ecmf.importing.safe_pickle import load_plain
from ecmf.params import Branch

MODALITIES: Mapping[str, Branch] = {"text": "text", "audio": "audio", "vision": "face"}
BERT_MASK = 1
"""Row of `text_bert` with the padding mask: 1 for each token, 0 for padding."""

Split = Mapping[str, Any]


class FeatureFormat:
    """Read the pickle as plain data, without running its code."""

    id_mappings: ClassVar[Sequence[IdMapping]] = (IdMapping(r"(.+)\$_\$(.+)", r"\1_\2"),)

    def read(self, path: Path) -> Iterator[ExternalFeatures]:
        """Yield the features of text, audio and vision that the pickle has."""
        if not path.is_file():
            raise MissingFileError(f"no file {path}: name the pickle itself")
        splits = _splits(path, load_plain(path))
        names = [name for name in MODALITIES if any(name in split for split in splits.values())]
        if not names:
            raise CorpusError(f"{path} has none of {', '.join(MODALITIES)} in any split")
        for name in names:
            yield ExternalFeatures(
                f"{path.stem}-{name}", MODALITIES[name], _clips(path, splits, name)
            )


def _splits(path: Path, content: Any) -> dict[str, Split]:
    if not isinstance(content, dict):
        raise CorpusError(f"{path} holds a {type(content).__name__}, not a dict of splits")
    splits: dict[str, Split] = {
        str(k): v for k, v in content.items() if isinstance(v, dict) and "id" in v
    }
    if not splits:
        keys = ", ".join(repr(key) for key in list(content)[:5]) or "nothing"
        raise CorpusError(f"{path} has no split with ids, but {keys}: is it a file of MMSA?")
    return splits


def _clips(path: Path, splits: Mapping[str, Split], name: str) -> Iterator[tuple[str, LoadRows]]:
    for split_name, split in splits.items():
        if name not in split:
            continue
        where = f"{path}, {split_name}"
        ids = _as_sequence(f"{where}: id", split["id"])
        rows = _as_sequence(f"{where}: {name}", split[name], len(ids))
        lengths = _lengths(where, split, name, len(ids))
        for index, foreign_id in enumerate(ids):
            if not isinstance(foreign_id, str):
                raise CorpusError(f"{where}: id {index} is {foreign_id!r}, not text")
            length = None if lengths is None else lengths[index]
            yield str(foreign_id), partial(_unpad, rows, index, length)


def _as_sequence(where: str, value: Any, count: int | None = None) -> Sequence[Any]:
    if not isinstance(value, (list, tuple)) and not (isinstance(value, np.ndarray) and value.ndim):
        raise CorpusError(f"{where} is a {type(value).__name__}, not an array or a list")
    if count is not None and len(value) != count:
        raise CorpusError(f"{where} has {len(value)} entries, but there are {count} ids")
    return value  # type: ignore[return-value]


def _lengths(where: str, split: Split, name: str, count: int) -> list[int] | None:
    """Return the number of steps of each clip without padding, or None if it is not recorded."""
    key = f"{name}_lengths"
    values = split.get(key)
    if values is None and name == "text":
        key, values = "text_bert", _count_tokens(split)
    if values is None:
        return None
    try:
        lengths = [int(length) for length in _as_sequence(f"{where}: {key}", values, count)]
    except (TypeError, ValueError, OverflowError) as error:
        raise CorpusError(f"{where}: {key} are not whole numbers: {error}") from error
    if min(lengths, default=0) < 0:
        raise CorpusError(f"{where}: {key} has {min(lengths)}, not 0 or more")
    return lengths


def _count_tokens(split: Split) -> NDArray[Any] | None:
    """Count the tokens of each clip, or return None if the steps of `text` are not its tokens."""
    text, tokens = split["text"], split.get("text_bert")
    if not isinstance(text, np.ndarray) or not isinstance(tokens, np.ndarray):
        return None
    if tokens.dtype.kind not in "biuf" or tokens.shape[1:] != (3, *text.shape[1:2]):
        return None
    return np.asarray(tokens[:, BERT_MASK].sum(axis=1))


def _unpad(clips: Sequence[Any], index: int, length: int | None) -> NDArray[Any]:
    try:
        rows = np.asarray(clips[index])
    except ValueError as error:
        raise ClipError(f"is not a plain array of numbers: {error}") from error
    if length is None or rows.ndim != 2 or rows.dtype.kind not in "biuf":
        return rows
    padded_in_front = len(rows) > 0 and rows[-1].any() and not rows[0].any()
    return rows if padded_in_front else rows[:length]
