"""A packed model that a stranger has changed is refused, or loads and predicts."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from corpus import make_corpus
from mutants import mutant
from trainings import PARAMS, evaluate, train

from ecmf.errors import UserError
from ecmf.inference.packing import DIGESTS, check, pack

FILES = ("card.yaml", "weights", "evaluation_details.json", "evaluation.json", DIGESTS)

ODD_VALUES = (
    None, -1, 0, 10**9, 10**30, 0.5, float("nan"), "", "../../up", "/etc/passwd", "\x1b[2J", [], {},
    ["a"], {"a": 1}, "a" * 10_000,
)  # fmt: skip


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a model of one epoch, and pack it."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("ECMF_CACHE", str(folder / "cache"))
        patch.setenv("ECMF_WORKERS", "1")
        (folder / "metrics").mkdir()
        corpus = make_corpus(folder, each=3)
        small = {"epochs": 1, "seeds": (0,)}
        train(corpus, folder, PARAMS.model_copy(update=small))
        evaluate(corpus, folder)
        for name in ("evaluation.json", "evaluation_details.json"):
            (folder / name).rename(folder / "metrics" / name)
        pack(folder / "fusion", folder / "packed")
    return folder / "packed"


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def forge(folder: Path, before: dict[str, str]) -> None:
    """Write the digests of the changed files wherever those before the change stand."""
    weights = list(folder.rglob("*.safetensors"))
    details = folder / "evaluation_details.json"
    for files, texts in ((weights, "card.yaml"), ([folder / "card.yaml"], details.name)):
        text = (folder / texts).read_bytes()
        for path in files:
            text = text.replace(before[path.name].encode(), digest(path).encode())
        (folder / texts).write_bytes(text)
    names = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != DIGESTS)
    lines = [f"{digest(path)}  {path.relative_to(folder).as_posix()}\n" for path in names]
    (folder / DIGESTS).write_text("".join(lines))


def with_odd_value(path: Path, seed: int) -> None:
    """Put an odd value somewhere into a file of YAML or JSON."""
    rng = np.random.default_rng(seed)
    content = yaml.safe_load(path.read_bytes())
    table = content
    for _ in range(int(rng.integers(1, 7))):
        keys = list(table) if isinstance(table, dict) else list(range(len(table)))
        key = keys[rng.integers(len(keys))]
        if not isinstance(table[key], dict | list) or not table[key]:
            break
        container, table = table, table[key]
    else:
        table = container
        keys = list(table) if isinstance(table, dict) else list(range(len(table)))
        key = keys[rng.integers(len(keys))]
    table[key] = ODD_VALUES[rng.integers(len(ODD_VALUES))]
    is_json = path.suffix == ".json"
    path.write_text(json.dumps(content) if is_json else yaml.safe_dump(content, sort_keys=False))


def check_changed(packed: Path, tmp_path: Path, name: str, change: Callable[[Path], None]) -> None:
    """Change a file of the model and its digests, and check the folder."""
    folder = tmp_path / "packed"
    shutil.copytree(packed, folder)
    before = {path.name: digest(path) for path in folder.rglob("*") if path.is_file()}
    path = next(folder.rglob("*.safetensors")) if name == "weights" else folder / name
    change(path)
    if name != DIGESTS:
        forge(folder, before)
    check(folder)


def refused_or_loaded(
    packed: Path, tmp_path: Path, name: str, change: Callable[[Path], None]
) -> None:
    """Change a file of the model: the folder loads, or is refused with a message."""
    try:
        check_changed(packed, tmp_path, name, change)
    except UserError as error:
        assert 0 < len(str(error)) < 20_000


def test_a_damaged_model_with_forged_digests_is_refused_or_loads(
    packed: Path, tmp_path: Path, seed: int
) -> None:
    def damage(path: Path) -> None:
        path.write_bytes(mutant(path.read_bytes(), seed))

    refused_or_loaded(packed, tmp_path, FILES[seed % len(FILES)], damage)


def test_a_model_with_an_odd_value_is_refused_or_loads(
    packed: Path, tmp_path: Path, seed: int
) -> None:
    name = ("card.yaml", "evaluation_details.json", "evaluation.json")[seed % 3]
    refused_or_loaded(packed, tmp_path, name, lambda path: with_odd_value(path, seed))


def test_a_model_of_terabytes_is_refused_before_memory_is_taken(
    packed: Path, tmp_path: Path
) -> None:
    def enlarge(path: Path) -> None:
        content = yaml.safe_load(path.read_text())
        content["sources"][0]["dim"] = 1_000_000
        content["training"]["options"]["ecmf"]["width"] = 1_000_000
        path.write_text(yaml.safe_dump(content, sort_keys=False))

    with pytest.raises(UserError, match="the weights are not those of ecmf for these sources"):
        check_changed(packed, tmp_path, "card.yaml", enlarge)
