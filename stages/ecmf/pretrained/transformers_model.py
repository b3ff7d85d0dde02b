"""A network of transformers with its weights: loaded when it is asked, and run as it is said.

No code of a repository is ever run, and no weight is ever left to chance.
"""

import functools
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub.errors import (
    StrictDataclassError,
)
from pydantic import Field
from transformers import AutoConfig
from transformers.utils import logging as transformers_logging

from ecmf.config import Section
from ecmf.errors import MissingFileError, ParamsError
from ecmf.execution import device
from ecmf.pretrained.weights import Precision, Weights, find, in_short

log = logging.getLogger(__name__)


class Layers(Section):
    """Which hidden states make a vector, and how: mixed into the `Options` of a member.

    `layers` counts as transformers' `hidden_states` do: 0 is what the first block reads, -1 what
    the last one gives. The field's speech and text features are the `sum` of [-4, -3, -2, -1];
    `concat` puts the layers side by side, so that a row is as many times as wide.
    """

    layers: tuple[int, ...] = Field((-1,), min_length=1)
    combine: Literal["sum", "mean", "concat"] = "sum"

    def check(self, count: int) -> None:
        """Raise ParamsError if one of the layers is not among `count` hidden states."""
        wrong = [layer for layer in self.layers if not -count <= layer < count]
        if wrong:
            raise ParamsError(
                f"layers {wrong} are not there: the network has {count} hidden states, "
                f"{-count} to {count - 1}"
            )

    def combined(self, hidden_states: Sequence[torch.Tensor]) -> torch.Tensor:
        """Combine the chosen layers, each (..., hidden), in float32: (..., self.dim(hidden))."""
        chosen = [hidden_states[layer].float() for layer in self.layers]
        if self.combine == "concat":
            return torch.cat(chosen, dim=-1)
        stacked = torch.stack(chosen)
        return stacked.sum(dim=0) if self.combine == "sum" else stacked.mean(dim=0)

    def dim(self, hidden: int) -> int:
        """Width of a row, where a layer is `hidden` wide."""
        return hidden * len(self.layers) if self.combine == "concat" else hidden

    @property
    def inner(self) -> bool:
        """Whether other layers than the last are asked for: then `output_hidden_states` is due."""
        return self.layers != (-1,)

    def tokens(self, outputs: Any) -> torch.Tensor:
        """Combine the chosen layers of what a network gave: (batch, tokens, dim), float32.

        The last layer is taken after the network's final normalisation, as `last_hidden_state` is
        for every network of text and sound; for one of pictures transformers leaves it before.
        """
        if not self.inner:
            last: torch.Tensor = outputs.last_hidden_state
            return last.float()
        return self.combined([*outputs.hidden_states[:-1], outputs.last_hidden_state])


@dataclass(frozen=True)
class Pretrained:
    """A folder with a configuration and safetensors, and what its content is known by."""

    folder: Path
    precision: Precision
    provenance: Mapping[str, Any]

    @property
    def dtype(self) -> str:
        """What features are stored in: bfloat16 has no counterpart in HDF5, float16 has."""
        return "float16" if self.precision == "float16" else "float32"

    @functools.cached_property
    def config(self) -> Any:
        """The configuration; of a network that cannot be built here, a MissingFileError."""
        try:
            with _quiet():
                return AutoConfig.from_pretrained(
                    self.folder, local_files_only=True, trust_remote_code=False
                )
        except (OSError, ValueError, KeyError, StrictDataclassError) as error:
            raise MissingFileError(
                f"{self.folder} describes no network that transformers {version('transformers')} "
                f"knows by itself (code of a repository is never run): {error}"
            ) from error

    def preprocessor(self, kind: Any, **settings: Any) -> Any:
        """Load what makes inputs for the network: a processor or a tokenizer of transformers.

        Args:
            kind: How to load it, e.g. `AutoImageProcessor`.
            settings: What else its `from_pretrained` is told.

        Raises:
            MissingFileError: it does not lie with the weights, or only as code of the repository.
        """
        try:
            with _quiet():
                return kind.from_pretrained(
                    self.folder, local_files_only=True, trust_remote_code=False, **settings
                )
        except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
            raise MissingFileError(
                f"{self.folder} has nothing that {kind.__name__} can load "
                f"({in_short(error)}): a folder needs what the `save_pretrained` of the "
                "processor or tokenizer writes, too; a repository of which only the weights were "
                "fetched is completed by `hf download <repository> --revision <revision>`"
            ) from error

    def model(
        self, architecture: Any, unused: Sequence[str] = (), config: Any = None
    ) -> torch.nn.Module:
        """Load `architecture` with its weights onto the requested device, ready to be asked.

        Args:
            architecture: A class of transformers.
            unused: Names of weights that begin so may lack: they then hold noise.
            config: A configuration in place of the one that lies there.

        Raises:
            MissingFileError: the file lacks a weight that is used, or has it in another shape; it
                would be filled with noise.
            UserError: a GPU was asked for that is not there.
        """
        where = device.of_torch()
        with _quiet():
            model, found = architecture.from_pretrained(
                self.folder,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are named below, in an error
                dtype=getattr(torch, self.precision),
                **({} if config is None else {"config": config}),
            )
        lacking = {*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])}
        lacking = {key for key in lacking if not key.startswith(tuple(unused))}
        if lacking:
            first = ", ".join(sorted(lacking)[:3])
            raise MissingFileError(
                f"{self.folder} lacks {len(lacking)} weights of {architecture.__name__} in the "
                f"shape of its config.json ({first}, ...): it was saved from another kind of "
                "network; choose one that has them"
            )
        log.info("%s runs on %s in %s", type(model).__name__, where, self.precision)
        network: torch.nn.Module = model.eval().to(where)
        return network

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Run a network in this block: no gradients, and the chosen precision."""
        kind = device.requested().partition(":")[0]
        half = self.precision != "float32"
        with (
            torch.inference_mode(),
            torch.autocast(kind, getattr(torch, self.precision), enabled=half),
            device.exact_convolutions(),
        ):
            yield


def locate(options: Weights) -> Pretrained:
    """Find the weights before any clip is read, fetching a repository where it is not yet here.

    Raises:
        MissingFileError: they are absent, incomplete, not those of the `sha256` or not safetensors,
            or the hub was not reached; says what to do.
    """
    folder, provenance = find(options)
    versions = {name: version(name) for name in ("transformers", "torch")}
    return Pretrained(folder, options.precision, {**provenance, **versions})


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from drawing bars and tables: what matters of them is an error here."""
    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
