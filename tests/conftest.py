"""Real inputs, where they are at hand."""

import os

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # before torch is imported: tests run beside each other

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

os.environ["PYTHONPATH"] = str(ROOT / "stages")  # for programs that tests start


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real clips and small real weights; it is not part of the project."""
    folder = Path(os.environ.get("ECMF_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no real inputs: neither $ECMF_SHARED nor {folder} holds them")
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds what another one has worked out."""
    monkeypatch.setenv("ECMF_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test replaces is seen by all that runs: no other process does a part of it."""
    monkeypatch.setenv("ECMF_WORKERS", "1")
