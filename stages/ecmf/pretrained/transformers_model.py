"""Load pretrained networks of transformers, and run them in the chosen precision.

Code of a repository is never run, and a weight in use is never initialised at random.
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
from huggingface_hub.errors import StrictDataclassError
from pydantic import Field
from transformers import AutoConfig
from transformers.utils import logging as transformers_logging

from ecmf.config import Section
from ecmf.errors import MissingFileError, ParamsError
from ecmf.execution import device
from ecmf.precision import autocast
from ecmf.pretrained.weights import Precision, Weights, find_weights, shorten

log = logging.getLogger(__name__)


class LayerOptions(Section):
    """Options of the hidden states, mixed into an encoder's `Options`.

    Speech and text features are usually the `sum` of the layers [-4, -3, -2, -1].
    """

    layers: tuple[int, ...] = Field(
        (-1,),
        min_length=1,
        description="Hidden states: 0 before the first block, -1 after the last.",
    )
    combine: Literal["sum", "mean", "concat"] = Field(
        "sum", description="Combination of the layers; `concat` gives wider rows."
    )

    def check_layers(self, count: int) -> None:
        """Raise ParamsError if a layer is not among `count` hidden states."""
        wrong = [layer for layer in self.layers if not -count <= layer < count]
        if wrong:
            raise ParamsError(
                f"layers {wrong} do not exist: the network has {count} hidden states, "
                f"{-count} to {count - 1}"
            )

    def combine_layers(self, hidden_states: Sequence[torch.Tensor]) -> torch.Tensor:
        """Combine the layers, each (..., hidden), in float32: (..., self.dim(hidden))."""
        layers = [hidden_states[layer].float() for layer in self.layers]
        if self.combine == "concat":
            return torch.cat(layers, dim=-1)
        stacked = torch.stack(layers)
        return stacked.sum(dim=0) if self.combine == "sum" else stacked.mean(dim=0)

    def dim(self, hidden: int) -> int:
        """Return the width of a row for layers of width `hidden`."""
        return hidden * len(self.layers) if self.combine == "concat" else hidden

    @property
    def needs_hidden_states(self) -> bool:
        """Return whether `output_hidden_states` is required, for layers other than the last."""
        return self.layers != (-1,)

    def select_states(self, outputs: Any) -> torch.Tensor:
        """Combine the layers of a network's output: (batch, tokens, dim), float32.

        Layer -1 is `last_hidden_state`: after the final normalisation of text and audio networks,
        but before that of image networks.
        """
        if not self.needs_hidden_states:
            last: torch.Tensor = outputs.last_hidden_state
            return last.float()
        return self.combine_layers([*outputs.hidden_states[:-1], outputs.last_hidden_state])


@dataclass(frozen=True)
class Pretrained:
    """A folder with a configuration and safetensors, and the hashes of its content."""

    folder: Path
    precision: Precision
    provenance: Mapping[str, Any]

    @property
    def dtype(self) -> str:
        """Dtype of stored features: float16 for float16, else float32; HDF5 has no bfloat16."""
        return "float16" if self.precision == "float16" else "float32"

    @functools.cached_property
    def config(self) -> Any:
        """The configuration; raises MissingFileError if transformers does not know the network."""
        try:
            with _quiet():
                return AutoConfig.from_pretrained(
                    self.folder, local_files_only=True, trust_remote_code=False
                )
        except (OSError, ValueError, KeyError, StrictDataclassError) as error:
            raise MissingFileError(
                f"{self.folder} describes no network that transformers {version('transformers')} "
                f"supports (code of a repository is never run): {error}"
            ) from error

    def load_preprocessor(self, auto_class: Any, **settings: Any) -> Any:
        """Load the network's preprocessor: a processor or a tokenizer of transformers.

        Args:
            auto_class: Class that loads it, e.g. `AutoImageProcessor`.
            settings: Further arguments of its `from_pretrained`.

        Raises:
            MissingFileError: it is not in the folder, or only as code.
        """
        try:
            with _quiet():
                return auto_class.from_pretrained(
                    self.folder, local_files_only=True, trust_remote_code=False, **settings
                )
        except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
            raise MissingFileError(
                f"{self.folder} has nothing that {auto_class.__name__} can load "
                f"({shorten(error)}): `save_pretrained` the processor or tokenizer into the "
                "folder; if only the weights of a repository were downloaded, run "
                "`hf download <repository> --revision <revision>`"
            ) from error

    def load_model(
        self, architecture: Any, unused: Sequence[str] = (), config: Any = None
    ) -> torch.nn.Module:
        """Load `architecture` with its weights onto the requested device, in evaluation mode.

        Args:
            architecture: A class of transformers.
            unused: Prefixes of unused weights, which may be missing.
            config: A configuration to use instead of the folder's.

        Raises:
            MissingFileError: a weight in use is missing or has another shape, and would be
                initialised at random.
            UserError: the requested GPU is not available.
        """
        torch_device = device.torch_device()
        with _quiet():
            model, loading_info = architecture.from_pretrained(
                self.folder,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # reported below, in an error
                dtype=getattr(torch, self.precision),
                **({} if config is None else {"config": config}),
            )
        mismatched = (key for key, *_ in loading_info["mismatched_keys"])
        missing = {*loading_info["missing_keys"], *mismatched}
        missing = {key for key in missing if not key.startswith(tuple(unused))}
        if missing:
            first = ", ".join(sorted(missing)[:3])
            raise MissingFileError(
                f"{self.folder} lacks {len(missing)} weights of {architecture.__name__} in the "
                f"shape of its config.json ({first}, ...): it was saved from another network; "
                "choose a folder or repository that has them"
            )
        log.info("%s runs on %s in %s", type(model).__name__, torch_device, self.precision)
        network: torch.nn.Module = model.eval().to(torch_device)
        return network

    @contextmanager
    def inference(self) -> Iterator[None]:
        """Disable gradients and set the chosen precision for a network run in this block."""
        device_type = device.requested().partition(":")[0]
        with (
            torch.inference_mode(),
            autocast(device_type, getattr(torch, self.precision)),
            device.exact_convolutions(),
        ):
            yield


def locate(options: Weights) -> Pretrained:
    """Find the weights before any clip is read, downloading a repository that is not cached.

    Raises:
        MissingFileError: they are absent, incomplete, differ from the `sha256`, are not
            safetensors, or the hub is unreachable; names the remedy.
    """
    folder, provenance = find_weights(options)
    versions = {name: version(name) for name in ("transformers", "torch")}
    return Pretrained(folder, options.precision, {**provenance, **versions})


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress progress bars and reports of transformers; missing weights are an error here."""
    level = transformers_logging.get_verbosity()
    progress_bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(level)
        if progress_bars:
            transformers_logging.enable_progress_bar()
