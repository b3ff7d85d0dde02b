"""Compare what two runs of the pipeline wrote, value by value.

Stores, tables, scores and weights are compared to the bit; other files by their hash. A file,
column, dataset or tensor that only one side has is a fault. Differences of form are listed and fail
nothing: a key that only one of two documents has, a part whose name differs but whose content does
not, and the parts of form of `result_files.py`.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from support import result_files
from support.result_files import DOCUMENTS, FORM, Parts, find_files, read_all

NOTES = 20
"""Faults, and differences of form, listed per file."""


@dataclass
class Finding:
    """One file, or the files of a folder that are compared as one."""

    name: str
    compared: str = ""
    different: int = 0
    largest: float = 0.0
    faults: list[str] = field(default_factory=list)
    form: Counter[str] = field(default_factory=Counter)


def differences(old: NDArray[Any], new: NDArray[Any]) -> tuple[int, float]:
    """Count values that are not equal to the bit; return the largest distance, NaN for texts."""
    if old.shape != new.shape or old.dtype != new.dtype:
        return max(old.size, new.size, 1), np.nan
    old, new = np.ascontiguousarray(old).ravel(), np.ascontiguousarray(new).ravel()
    bits = object if old.dtype.hasobject else f"V{old.itemsize}"
    unequal = np.asarray(old.view(bits) != new.view(bits), bool)
    try:
        distance = abs(old[unequal].astype(float) - new[unequal].astype(float))
    except (TypeError, ValueError):
        return int(unequal.sum()), np.nan
    return len(distance), float(distance.max(initial=0.0))


def pair_by_content(old: Parts, new: Parts) -> dict[str, str]:
    """Pair parts that exist on one side only and are equal in type, shape and bits; old -> new."""

    def content(values: NDArray[Any]) -> tuple[Any, ...]:
        bits = tuple(values.ravel()) if values.dtype.hasobject else values.tobytes()
        return values.dtype, values.shape, bits

    free = defaultdict(list)
    for name in sorted(new.keys() - old.keys(), reverse=True):
        free[content(new[name])].append(name)
    lost = sorted(old.keys() - new.keys())
    candidates = ((name, free[content(old[name])]) for name in lost)
    return {name: names.pop() for name, names in candidates if names}


def compare_parts(name: str, old: Parts, new: Parts, *, document: bool = False) -> Finding:
    """Compare part by part; `document` is a file whose keys may be added and removed."""
    finding = Finding(name)
    pairs = {} if document else pair_by_content(old, new)
    finding.form.update(f"renamed: {was} -> {now}" for was, now in pairs.items())
    old = {pairs.get(part, part): values for part, values in old.items()}
    for part in sorted(old.keys() ^ new.keys()):
        text = f"only in {'old' if part in old else 'new'}: {part}"
        if document or part.startswith(FORM):
            finding.form[without_numbers(text)] += 1
        else:
            finding.faults.append(text)
    common = sorted(old.keys() & new.keys())
    for part in common:
        count, largest = differences(old[part], new[part])
        if count and part.startswith(FORM):
            finding.form[without_numbers(f"differs: {part}")] += 1
        elif count:
            kinds = [f"{side[part].shape} {side[part].dtype}" for side in (old, new)]
            change = "" if kinds[0] == kinds[1] else f", {kinds[0]} -> {kinds[1]}"
            finding.faults.append(f"differs: {part}, {count:,} of {new[part].size:,}{change}")
            finding.different += count
            finding.largest = float(np.fmax(finding.largest, largest))
    judged = [new[part] for part in common if not part.startswith(FORM)]
    if not judged and any(not part.startswith(FORM) for part in old):
        finding.faults.append("no part is in both")
    values = f"{len(judged):,} parts, {sum(one.size for one in judged):,} values"
    finding.compared = values if judged else "form only"
    return finding


def without_numbers(text: str) -> str:
    """Replace positions in lists by *, so that one key of many records is one note."""
    return re.sub(r"/\d+(?=/|$)", "/*", text)


def compare_results(old: Path, new: Path) -> list[Finding]:
    """Compare all that two checkouts hold below data/, models/ and metrics/."""
    before, after = (
        find_files(old, result_files.RENAMED_FILES),
        find_files(new, result_files.DIVIDED_FILES),
    )
    words = result_files.RENAMED_WORDS
    findings = []
    for name in sorted(before.keys() | after.keys()):
        if name in before and name in after:
            parts = read_all(before[name], words), read_all(after[name], {})
            document = Path(name).suffix in DOCUMENTS
            findings.append(compare_parts(name, *parts, document=document))
        else:
            side = "old" if name in before else "new"
            findings.append(Finding(name, faults=[f"only in {side}"]))
    return findings


def table(findings: Sequence[Finding]) -> str:
    """Return a line of Markdown per file, and below it the faults and differences of form."""
    lines = ["| file | compared | result |", "|---|---|---|"]
    notes = []
    for one in findings:
        result = "**differs**" if one.faults else "equal to the bit"
        if one.different:
            distance = f", by at most {one.largest:.3g}" if one.largest else ""
            result = f"**values that differ: {one.different:,}{distance}**"
        result += "; form differs" if one.form and not one.faults else ""
        lines.append(f"| {one.name} | {one.compared} | {result} |")
        form = [f"{text} ({n} times)" if n > 1 else text for text, n in one.form.items()]
        for kind, texts in (("FAULT", one.faults), ("form", form)):
            more = [f"{len(texts) - NOTES} more"] if len(texts) > NOTES else []
            notes += [f"{kind} {one.name}: {text}" for text in texts[:NOTES] + more]
    return "\n".join([*lines, *notes])
