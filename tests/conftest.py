"""Fixtures of all tests: real inputs if available, a cache per test, a single worker."""

import os

# before torch is imported: tests run in parallel
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

os.environ["PYTHONPATH"] = str(ROOT / "stages")  # for programs that tests start

LONGEST_FIRST = (
    "pipeline/test_pipeline_run.py",
    "fusion/test_fusion.py",
    "training/test_vmap_trainer.py",
    "evaluation/test_ensembling.py",
    "tuning/test_sweep.py",
)
"""Files that take minutes: started last, one of them would run alone at the end."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Set how many cases the tests of `fuzz/` try, each on inputs drawn from a seed."""
    group = parser.getgroup("fuzz")
    group.addoption("--fuzz-cases", type=int, default=8, help="cases of each test (default: 8)")
    group.addoption("--fuzz-seed", type=int, default=0, help="seed of the first case (default: 0)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the two workers start with the longest files."""
    order = {str(ROOT / "tests" / name): place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: order.get(str(item.path), len(order)))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of real clips and small real weights, which is not part of the project."""
    folder = Path(os.environ.get("ECMF_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no real inputs: neither $ECMF_SHARED nor {folder} holds them")
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test an empty result cache."""
    monkeypatch.setenv("ECMF_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run everything in this process, so that monkeypatched names apply to all of it."""
    monkeypatch.setenv("ECMF_WORKERS", "1")
