"""Hash the parts of a store that HDF5 keeps without a checksum: texts, names, types.

The place and the filters of an array have none either, so one flipped bit can exchange the content
of two arrays that are both intact: the small ones are hashed as they are read.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from numpy.typing import NDArray


def text_digest(texts: Iterable[str]) -> str:
    """Return the SHA-256 of a list of texts."""
    return hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()


def description_digest(
    layout: dict[str, Any],
    provenance: str,
    clip_ids: Iterable[str],
    arrays: Mapping[str, NDArray[Any]],
) -> str:
    """Return the SHA-256 of the layout, provenance, clip ids and arrays of all clips of a store."""
    contents = [
        f"{name} {hashlib.sha256(array.tobytes()).hexdigest()}"
        for name, array in sorted(arrays.items())
    ]
    description = json.dumps(layout, sort_keys=True)
    return text_digest([description, provenance, *contents, *clip_ids])
