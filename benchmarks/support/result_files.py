"""Read the files that a run of the pipeline wrote as named parts, renamed as declared here.

A part is a column of a table, a dataset of a store, a tensor, or the value of a key of a document.
Root attributes of stores, texts that describe a source, and hashes of drawings are parts of form.
"""

import csv
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import yaml
from numpy.typing import NDArray
from safetensors.numpy import load_file

# Deliberate renamings, old -> new. A file may be a folder; a word is a whole step of the path of a
# key, dataset or tensor, a whole column name, or a whole text.
RENAMED_FILES: dict[str, str] = {}
RENAMED_WORDS: dict[str, str] = {
    "validation_waf": "validation_score",
    "validation_waf_deviation": "validation_score_deviation",
    "validation_waf_by_seed": "validation_score_by_seed",
}

# New files whose content was in another file before: new -> that file.
DIVIDED_FILES: dict[str, str] = {"metrics/evaluation_details.json": "metrics/evaluation.json"}

FOLDERS = ("data", "models", "metrics")
NOT_MADE = {"README.md", ".gitignore", "dvc.yaml", "dvc.lock"}
DESCRIPTIONS = {"sources.json", "card.yaml"}
DOCUMENTS = {".json", ".jsonl", ".yaml"}
DRAWINGS = {".png", ".html"}
FORM = "@"
"""Prefix of the parts whose differences are of form only."""

Words = Mapping[str, str]
Parts = dict[str, NDArray[Any]]
"""The content of a file: its columns, datasets, tensors or keys by name, renamed as declared."""


def collect(path: Path, pairs: Iterable[tuple[str, NDArray[Any]]]) -> Parts:
    """Return the parts of a file by name; ValueError if two have the same name: none is lost."""
    parts: Parts = {}
    for name, values in pairs:
        if name in parts:
            raise ValueError(f"{path}: two parts are named {name!r}: see RENAMED_WORDS")
        parts[name] = values
    return parts


def translate(values: Sequence[Any], words: Words) -> NDArray[Any]:
    """Return texts or mixed values as a one-dimensional array of objects, with words renamed."""
    array = np.empty(len(values), object)
    array[:] = [words.get(value, value) if isinstance(value, str) else value for value in values]
    return array


def walk(document: object, words: Words, path: str = "") -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield every leaf of nested mappings and lists under the path of its keys.

    The length of a list is a leaf too, so that a missing record is no mere difference of keys.
    """
    if isinstance(document, list):
        yield f"{path}/length", translate([len(document)], {})
    if isinstance(document, dict | list) and document:
        pairs = document.items() if isinstance(document, dict) else enumerate(document)
        for key, value in pairs:
            yield from walk(value, words, f"{path}/{words.get(str(key), key)}")
    else:
        leaf = document if isinstance(document, int | float | None) else str(document)
        yield path, translate([leaf], words)


def read_document(path: Path, words: Words) -> Parts:
    """Read JSON, JSON lines or YAML: one value per key; texts of a description are of form."""
    text = path.read_text(encoding="utf-8")
    document: object
    if path.suffix == ".yaml":
        document = yaml.safe_load(text)
    elif path.suffix == ".jsonl":
        document = [json.loads(line, parse_constant=str) for line in text.split("\n") if line]
    else:
        document = json.loads(text, parse_constant=str)
    described = path.name in DESCRIPTIONS
    return collect(
        path,
        (
            (FORM + name if described and isinstance(value[0], str) else name, value)
            for name, value in walk(document, words)
        ),
    )


def read_table(path: Path, words: Words) -> Parts:
    """Read a CSV file: the cells of a column as texts."""
    with path.open(newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    columns = zip(*rows, strict=True) if rows else [()] * len(head)
    names = translate(head, words)
    return collect(path, zip(names, (translate(cells, words) for cells in columns), strict=True))


def read_store(path: Path, words: Words) -> Parts:
    """Read an HDF5 file: all datasets, and its root attributes as parts of form."""
    found: list[tuple[str, NDArray[Any]]] = []

    def read(name: str, item: object) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        if h5py.check_string_dtype(item.dtype) is None:
            values = np.asarray(item[()])
        else:
            texts = np.asarray(item.asstr()[()])
            values = translate(texts.ravel().tolist(), words).reshape(texts.shape)
        found.append((rename_steps(name, words), values))

    with h5py.File(path) as file:
        file.visititems(read)
        for key, value in file.attrs.items():
            about = json.loads(value) if key == "provenance" else np.asarray(value).tolist()
            found += [(FORM + name, leaf) for name, leaf in walk({key: about}, words)]
    return collect(path, found)


def read_tensors(path: Path, words: Words) -> Parts:
    """Read a file of weights: its tensors, under the name of the training and their own."""
    tensors = load_file(path).items()
    return collect(
        path,
        ((f"{path.stem}/{rename_steps(name, words, '.')}", tensor) for name, tensor in tensors),
    )


def read_hash(path: Path, _: Words) -> Parts:
    """Read the SHA-256 of any other file; that of a drawing is of form."""
    prefix = FORM if path.suffix in DRAWINGS else ""
    return {prefix + path.name: translate([hashlib.sha256(path.read_bytes()).hexdigest()], {})}


def rename_steps(name: str, words: Words, separator: str = "/") -> str:
    """Rename each step of a path."""
    return separator.join(words.get(step, step) for step in name.split(separator))


READERS: dict[str, Callable[[Path, Words], Parts]] = {
    ".h5": read_store,
    ".csv": read_table,
    ".safetensors": read_tensors,
    **dict.fromkeys(DOCUMENTS, read_document),
}


def find_files(checkout: Path, renamed: Words) -> dict[str, list[Path]]:
    """List what a run wrote: line of the table -> files.

    The weights of a folder are one line, and so are its files that are compared by their hash.
    """
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(path for folder in FOLDERS for path in (checkout / folder).rglob("*")):
        place = path.relative_to(checkout)
        for was, now in renamed.items():
            if place.is_relative_to(was):
                place = Path(now, place.relative_to(was))
        if place.suffix == ".safetensors":
            place = place.with_name("*.safetensors")
        elif place.suffix not in READERS:
            place = place.with_name("… (hashes)")
        if path.is_file() and path.name not in NOT_MADE:
            found[str(place)].append(path)
    return found


def read_all(paths: Sequence[Path], words: Words) -> Parts:
    """Read the files of one line of the table."""
    readers = (READERS.get(path.suffix, read_hash)(path, words) for path in paths)
    return collect(paths[0].parent, (pair for parts in readers for pair in parts.items()))
