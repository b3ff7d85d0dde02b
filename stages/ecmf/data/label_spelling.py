"""Find labels that differ only in case, which would become two classes."""

from collections.abc import Iterable, Iterator


def spelling_errors(labels: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield an error for each clip whose label was spelled otherwise before; takes ids, labels."""
    spelling: dict[str, str] = {}
    for clip_id, label in labels:
        first = spelling.setdefault(label.casefold(), label)
        if label != first:
            yield f"clip {clip_id!r}: label {label!r} was {first!r} before: use one spelling"
