"""Hash the parts of a store that HDF5 keeps without a checksum: texts, names, types."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any


def text_digest(texts: Iterable[str]) -> str:
    """Return the SHA-256 of a list of texts."""
    return hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()


def description_digest(
    layout: dict[str, Any], provenance: str, clip_ids: Iterable[str], facts: Iterable[str]
) -> str:
    """Return the SHA-256 of the layout, provenance, clip ids and names of facts of a store."""
    description = json.dumps(layout, sort_keys=True)
    return text_digest([description, provenance, *sorted(facts), *clip_ids])
