"""Find what differs between revisions: parameters, features, labels, code."""

from collections.abc import Iterator, Mapping
from typing import Any

from ecmf.comparison.revision import Revision

RESULTS = ("metrics/", "models/")
"""Files that differ wherever anything else does."""

Values = Mapping[str, Any]


def changed_params(baseline: Values, other: Values) -> dict[str, tuple[Any, Any]]:
    """Map the dotted name of each parameter that differs to its two values, None if absent.

    An empty table is as an absent one.
    """
    first, second = dict(_flatten(baseline)), dict(_flatten(other))
    names = [*first, *(name for name in second if name not in first)]
    pairs = {name: (first.get(name), second.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def changed_files(baseline: Revision, other: Revision) -> dict[str, str]:
    """Map each input, feature file and script that differs to "changed", "added" or "removed".

    They are compared by their hashes in `dvc.lock`. An added file is one of `other` alone.
    """
    first, second = _hashes(baseline), _hashes(other)
    return {
        path: "changed" if path in first and path in second else "added" if path in second
        else "removed"
        for path in sorted(first.keys() | second.keys())
        if first.get(path) != second.get(path)
    }  # fmt: skip


def edited_params(revision: Revision) -> list[str]:
    """Return the parameters that were edited after the stages of a revision had run."""
    edited: list[str] = []
    for name, stage in revision.stages.items():
        if _is_configured(name, revision.params):
            for key, run_with in stage.get("params", {}).get("params.yaml", {}).items():
                now = _lookup(revision.params, key)
                edited += changed_params({key: run_with}, {key: now})
    return list(dict.fromkeys(edited))


def _flatten(values: Values, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _lookup(params: Values, key: str) -> Any:
    """Return the value of a dotted name, or None."""
    value: Any = params
    for step in key.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _hashes(revision: Revision) -> dict[str, str]:
    """Map the files that the stages read and wrote to their hashes, but for folders of data."""
    entries = [
        entry
        for name, stage in revision.stages.items()
        if _is_configured(name, revision.params)
        for entry in (*stage.get("deps", ()), *stage.get("outs", ()))
    ]
    return {
        entry["path"]: entry["md5"]
        for entry in entries
        if "md5" in entry
        and not entry["path"].startswith(RESULTS)
        and not (entry["path"].startswith("data/") and entry["md5"].endswith(".dir"))
    }


def _is_configured(stage: str, params: Values) -> bool:
    """Return whether a stage of `dvc.lock` still is one: removed encoders stay in the file."""
    section, _, encoder = stage.partition("@")
    return not encoder or encoder in params.get(section, {}).get("encoders", {})
