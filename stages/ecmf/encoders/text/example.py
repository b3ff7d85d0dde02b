"""Example to copy: length and punctuation of a text, in any language.

The function has the name of the file and is called once per text, but not for an empty one. An
option would be an argument after a star, see the example of `encoders/image`.
"""

import numpy as np

from ecmf.encoding.feature import Vector, feature


@feature(dim=4)
def example(text: str) -> Vector:
    """Return the logarithm of the length, and the fractions of "!", "?" and capital letters."""
    counts = (text.count("!"), text.count("?"), sum(map(str.isupper, text)))
    return np.array([np.log1p(len(text)), *(count / len(text) for count in counts)])
