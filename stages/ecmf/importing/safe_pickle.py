"""A pickle that may come from anyone -> the plain data in it: containers, text, numbers, arrays.

A pickle is a program that may call whatever it can name. Here it can name nothing but the few
stand-ins below, which make arrays of numbers, text or plain data and nothing else: the real
`numpy.dtype` and `numpy.ndarray` trust the state they are given, down to what is a pointer. No
stand-in is a class or takes an attribute, so that none can be changed from inside the pickle.
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
"""Element types an array may have, as numpy writes them; the last is plain data."""

BYTES_PER_BYTE, BYTES_BESIDE = 4, 1 << 30
"""Memory a pickle may take: times its size, and beside that. More says it is out to fill it."""

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
"""What a damaged or hostile pickle makes the unpickler raise."""


def load_plain(path: Path) -> Any:
    """Return what the pickle at `path` holds.

    Raises:
        CorpusError: it is damaged, or names anything that is not plain data; says what it names.
    """
    try:
        with path.open("rb") as file, _bounded_memory(path.stat().st_size):
            return _PlainUnpickler(file).load()
    except UNREADABLE as error:
        reason = str(error) or type(error).__name__
        raise CorpusError(f"{path} is no pickle of plain data: {reason}") from error


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Give the stand-in of a name; whatever has none is refused, and never looked up."""
        try:
            return PERMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it names {module}.{name}, which is not plain data; nothing of it was run"
            ) from None

    def persistent_load(self, pid: Any) -> NoReturn:
        """Refuse what would have to be fetched from elsewhere."""
        raise pickle.UnpicklingError("it refers to an object outside of it")


class _DType:
    """Stands for a dtype: its kind, and its byte order once the pickle has said it."""

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
    """An array that takes its state only once it has been looked at."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, content = state
        real = _real(dtype)
        if self.size or type(content) is not (list if real.hasobject else bytes):
            raise pickle.UnpicklingError(f"it fills an array from {type(content).__name__}")
        if type(shape) is not tuple or any(type(length) is not int for length in shape):
            raise pickle.UnpicklingError("it makes an array of no shape")
        # numpy itself would go on behind the end of a list that is too short
        wanted = math.prod(shape) * (1 if real.hasobject else real.itemsize)
        if min(shape, default=0) < 0 or len(content) != wanted:
            raise pickle.UnpicklingError(f"it fills an array {shape} from {len(content)} entries")
        state = (1, shape, real, bool(fortran), content)
        super().__setstate__(state)


class _StandIn:
    """A name a pickle may use: calls `make`, or is only handed over where there is none."""

    __slots__ = ("_make",)
    _make: Callable[..., Any] | None

    def __init__(self, make: Callable[..., Any] | None = None) -> None:
        object.__setattr__(self, "_make", make)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise pickle.UnpicklingError("it changes what is not its own")

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
        raise pickle.UnpicklingError("it makes an array otherwise than numpy does")
    return _Array((0,), "b")


def _from_buffer(content: Any, dtype: Any, shape: Any, order: Any) -> NDArray[Any]:
    # not of an array: that one could be filled anew, and its memory be gone
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
    ("_codecs", "encode"): _StandIn(_encode),  # how protocol 2 writes bytes
    ("__builtin__", "bytes"): _StandIn(_no_bytes),  # and how it writes none
}
for core in ("numpy.core", "numpy._core"):  # before and since numpy 2
    PERMITTED[f"{core}.multiarray", "_reconstruct"] = _StandIn(_reconstruct)
    PERMITTED[f"{core}.multiarray", "scalar"] = _StandIn(_scalar)
    PERMITTED[f"{core}.numeric", "_frombuffer"] = _StandIn(_from_buffer)


@contextmanager
def _bounded_memory(size: int) -> Iterator[None]:
    """Let this process take so much more memory for a pickle of `size` bytes, and no more.

    Where the system does not tell how much it has (it is no Linux), nothing is bounded.
    """
    held = Path("/proc/self/statm")
    if not held.exists():
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    now = int(held.read_text().split()[0]) * resource.getpagesize()
    limits = [now + BYTES_PER_BYTE * size + BYTES_BESIDE, soft, hard]
    bound = min(limit for limit in limits if limit != resource.RLIM_INFINITY)
    resource.setrlimit(resource.RLIMIT_AS, (bound, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
