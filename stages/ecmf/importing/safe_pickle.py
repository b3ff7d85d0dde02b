"""Load plain data from an untrusted pickle: containers, text, numbers, arrays.

A pickle is a program that may call anything it can name. Here it can name only the stand-ins below,
which create arrays of numbers, text or plain data: the real `numpy.dtype` and `numpy.ndarray` trust
the state from the pickle, even as a pointer. No stand-in is a class or accepts an attribute, so
that a pickle cannot change it.
"""

import math
import pickle
import re
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ecmf.errors import CorpusError

KINDS = re.compile(r"[biufUS][1-9]\d*|O8?")
"""Permitted element types of an array in numpy's notation; the last is plain data."""

MEMORY_FACTOR, MEMORY_RESERVE = 4, 1 << 30
"""Memory limit of a pickle: a multiple of its size, plus bytes. More indicates an attack."""

UNREADABLE = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    BufferError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
"""Exceptions of the unpickler for a damaged or hostile pickle."""


def load_plain(path: Path) -> Any:
    """Load the pickle at `path` without running code in it.

    Raises:
        CorpusError: it is damaged, or contains anything but plain data; names the object.
    """
    try:
        with path.open("rb") as file, _bounded_memory(path.stat().st_size):
            return _PlainUnpickler(file).load()
    except UNREADABLE as error:
        reason = str(error) or type(error).__name__
        raise CorpusError(f"{path} is not a pickle of plain data: {reason}") from error


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in of a name; other names are rejected and never imported."""
        try:
            return PERMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it names {module}.{name}, which is not plain data; its code was not run"
            ) from None

    def persistent_load(self, pid: Any) -> NoReturn:
        """Reject a reference to an object outside the pickle."""
        raise pickle.UnpicklingError("it refers to an object outside of it")


class _DType:
    """Stand-in of a dtype: its kind, and its byte order once the state is set."""

    __slots__ = ("_kind", "_order")

    def __init__(self, kind: str) -> None:
        self._kind, self._order = kind, "|"

    def __setstate__(self, state: Any) -> None:
        order, *structure = state[1:5]
        if order not in ("<", ">", "|", "=") or any(part is not None for part in structure):
            raise pickle.UnpicklingError("it holds an array of records")
        self._order = order

    def real(self) -> np.dtype[Any]:
        return np.dtype(self._order.replace("|", "=") + self._kind)


class _Array(np.ndarray[Any, Any]):
    """An array that validates its state before it is set."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, content = state
        real = _real(dtype)
        if self.size or type(content) is not (list if real.hasobject else bytes):
            raise pickle.UnpicklingError(f"it fills an array from {type(content).__name__}")
        if type(shape) is not tuple or any(type(size) is not int for size in shape):
            raise pickle.UnpicklingError("it creates an array without a shape")
        # numpy would read past the end of a list that is too short
        length = math.prod(shape) * (1 if real.hasobject else real.itemsize)
        if min(shape, default=0) < 0 or len(content) != length:
            raise pickle.UnpicklingError(f"it fills an array {shape} from {len(content)} entries")
        state = (1, shape, real, bool(fortran), content)
        super().__setstate__(state)


class _StandIn:
    """A permitted name: it calls `make`, or cannot be called if `make` is None."""

    __slots__ = ("_make",)
    _make: Callable[..., Any] | None

    def __init__(self, make: Callable[..., Any] | None = None) -> None:
        object.__setattr__(self, "_make", make)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise pickle.UnpicklingError("it changes a permitted name")

    def __call__(self, *arguments: Any) -> Any:
        if self._make is None:
            raise pickle.UnpicklingError("it calls a class of numpy")
        return self._make(*arguments)


def _real(dtype: Any) -> np.dtype[Any]:
    if type(dtype) is not _DType:
        raise pickle.UnpicklingError(f"it takes {type(dtype).__name__} for the type of an array")
    return dtype.real()


def _dtype(kind: Any, _align: Any = False, _copy: Any = False) -> _DType:
    if not isinstance(kind, str) or not KINDS.fullmatch(kind):
        raise pickle.UnpicklingError(f"it holds an array of {kind!r}, not of numbers or text")
    return _DType("O" if kind == "O8" else kind)


def _reconstruct(kind: Any, shape: Any, _code: Any) -> NDArray[Any]:
    if kind is not NDARRAY or shape != (0,):
        raise pickle.UnpicklingError("it creates an array otherwise than numpy does")
    return _Array((0,), "b")


def _from_buffer(content: Any, dtype: Any, shape: Any, order: Any) -> NDArray[Any]:
    # not from an array, whose memory is freed when it is filled again
    if type(content) not in (bytes, bytearray) or _real(dtype).hasobject:
        raise pickle.UnpicklingError(f"it fills an array from {type(content).__name__}")
    return np.frombuffer(content, _real(dtype)).reshape(shape, order=order)


def _scalar(dtype: Any, content: Any) -> Any:
    return _from_buffer(content, dtype, (), "C")[()]


def _encode(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("it writes bytes otherwise than pickle does")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


NDARRAY = _StandIn()
PERMITTED: dict[tuple[str, str], _StandIn] = {
    ("numpy", "ndarray"): NDARRAY,
    ("numpy", "dtype"): _StandIn(_dtype),
    ("_codecs", "encode"): _StandIn(_encode),  # bytes in protocol 2
    ("__builtin__", "bytes"): _StandIn(_no_bytes),  # empty bytes in protocol 2
}
for core in ("numpy.core", "numpy._core"):  # before and since numpy 2
    PERMITTED[f"{core}.multiarray", "_reconstruct"] = _StandIn(_reconstruct)
    PERMITTED[f"{core}.multiarray", "scalar"] = _StandIn(_scalar)
    PERMITTED[f"{core}.numeric", "_frombuffer"] = _StandIn(_from_buffer)


@contextmanager
def _bounded_memory(size: int) -> Iterator[None]:
    """Limit the memory of this process while it loads a pickle of `size` bytes; on Linux only."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    now = int(statm.read_text().split()[0]) * resource.getpagesize()
    limits = [now + MEMORY_FACTOR * size + MEMORY_RESERVE, soft, hard]
    bound = min(limit for limit in limits if limit != resource.RLIM_INFINITY)
    resource.setrlimit(resource.RLIMIT_AS, (bound, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
