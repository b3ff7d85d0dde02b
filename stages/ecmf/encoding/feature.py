"""Turn a plain function of an image or a text into an encoder: `@feature(dim=3)`.

The function has the name of its file. Its keyword-only arguments are the encoder's options; each
needs a type and a default, and takes a description as `Annotated[int, Field(description="...")]`.
A function of audio is decorated with `audio_feature`. An encoder with weights, with state, or with
a width that depends on its options is a class, see `encoding/base.py`.
"""

import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_type_hints

import numpy as np
from numpy.typing import NDArray
from pydantic import create_model

from ecmf.config import Section
from ecmf.encoding.base import has_visible_character
from ecmf.errors import ClipError, PluginError
from ecmf.execution import code_fingerprint, packages
from ecmf.media import Features, Images, Text

Vector = NDArray[np.floating[Any]]
"""One row of features, (dim,)."""

Function = TypeVar("Function", bound=Callable[..., Vector])

POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD
KEYWORD_ONLY = inspect.Parameter.KEYWORD_ONLY

NO_VALUES = frozenset({"pydantic"})
"""Packages that check options and compute nothing."""


class FunctionEncoder(ABC):
    """Encode clips with a function; subclasses split a clip into the function's inputs."""

    reads_media: ClassVar[bool] = True
    function: ClassVar[Callable[..., Vector]]
    dim: int
    provenance: Mapping[str, Any]

    def __init__(self, options: Section) -> None:
        self._options = dict(options)
        self.provenance = {"function": self.function.__name__, **_versions(self.function)}

    @abstractmethod
    def inputs(self, clip: Any) -> tuple[Sequence[Any], NDArray[np.float64]]:
        """Return the inputs of a clip, one per row, and the time of each."""

    def __call__(self, clips: Sequence[Any]) -> list[Features]:
        """Encode each clip; raises ClipError for NaN or infinity."""
        return [self._encode(clip) for clip in clips]

    def _encode(self, clip: Any) -> Features:
        items, times = self.inputs(clip)
        rows = [self._row(item) for item in items]
        with np.errstate(over="ignore"):  # reported below, as not finite
            values = np.array(rows, "float32").reshape(-1, self.dim)
        if not np.isfinite(values).all():
            raise ClipError(f"{self.function.__name__} returned NaN or infinity")
        return Features(values, times)

    def _row(self, item: Any) -> NDArray[Any]:
        row = np.asarray(self.function(item, **self._options))
        if row.shape != (self.dim,) or row.dtype.kind not in "fiub":
            raise PluginError(
                f"{self.function.__name__} returned {row.dtype} of shape {row.shape}, not "
                f"numbers of shape ({self.dim},) as @feature declares: mend "
                f"{_file(self.function)}"
            )
        return row


class ImageOrTextEncoder(FunctionEncoder):
    """Encode each image of a clip as a row with its time, or its text as one row at time 0.

    A text without a visible character has no row.
    """

    def inputs(self, clip: Any) -> tuple[Sequence[Any], NDArray[np.float64]]:
        """Return the images with their times, or the text."""
        if isinstance(clip, Images):
            return clip.images, clip.times
        if isinstance(clip, Text):
            texts = [clip.text] if has_visible_character(clip.text) else []
            return texts, np.zeros(len(texts))
        raise PluginError(
            f"{self.function.__name__} takes an image or a text: decorate a function of audio "
            f"with ecmf.encoding.audio_feature in {_file(self.function)}"
        )


def feature(dim: int) -> Callable[[Function], Function]:
    """Make a function (image: RGB) or (text: str) that returns `dim` numbers an encoder.

    Raises:
        PluginError: the function has other arguments than one input and keyword-only options.
    """
    return lambda function: attach(function, ImageOrTextEncoder, {"dim": dim})


def attach(
    function: Function, base: type[FunctionEncoder], attributes: Mapping[str, Any]
) -> Function:
    """Give a function the attributes `Options` and `Encoder`; it can still be called as it is."""
    own = {"function": staticmethod(function), "__doc__": function.__doc__, **attributes}
    vars(function).update(Options=_options(function), Encoder=type("Encoder", (base,), own))
    return function


def _options(function: Callable[..., Vector]) -> type[Section]:
    signature = inspect.signature(function)
    hints = get_type_hints(function, include_extras=True)
    kinds = [parameter.kind for parameter in signature.parameters.values()]
    if kinds[:1] != [POSITIONAL] or set(kinds[1:]) - {KEYWORD_ONLY}:
        raise PluginError(
            f"{function.__name__}{signature} in {_file(function)}: expected one input, and options "
            f"after a star, e.g. def {function.__name__}(image, *, bins: int = 8)"
        )
    options = list(signature.parameters.values())[1:]
    for option in options:
        if option.name not in hints or option.default is option.empty:
            raise PluginError(
                f"option {option.name!r} of {function.__name__} in {_file(function)} needs a type "
                f"and a default, e.g. {option.name}: int = 8"
            )
    fields: dict[str, Any] = {
        option.name: (hints[option.name], option.default) for option in options
    }
    return create_model("Options", __base__=Section, __doc__="Options of the function.", **fields)


def _versions(function: Callable[..., Vector]) -> dict[str, str]:
    """Return the versions of the packages that the module of a function imports."""
    file = Path(_file(function))
    if not file.is_relative_to(code_fingerprint.STAGES):  # defined in a test or a notebook
        return {}
    closure = code_fingerprint.import_closure(file, code_fingerprint.CARRIERS)
    found = packages.versions({file, *closure})
    return {name: version for name, version in found.items() if name not in NO_VALUES}


def _file(function: Callable[..., Vector]) -> str:
    module = sys.modules.get(function.__module__)
    return getattr(module, "__file__", None) or function.__code__.co_filename
