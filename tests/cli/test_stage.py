"""The encode stages as programs, as a job of an array and DVC call them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ecmf.storage.store import Layout, Rows, Store
from ecmf.storage.store_writer import StoreWriter

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def stage(tmp_path):
    """Run a stage's script on voices in a folder of its own."""
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    rng = np.random.default_rng(0)
    with StoreWriter(tmp_path / "audio.h5", Layout(dtype="int16", rate=16_000), {}) as out:
        for number in range(5):
            samples = rng.normal(0, 3000, 4800).astype("int16")
            out.append(f"clip_{number}", Rows(samples, np.arange(4800) / 16_000))

    def run(*arguments, **environment):
        script = ROOT / "stages/encode_audio.py"
        return subprocess.run(
            [sys.executable, script, *arguments], cwd=tmp_path, capture_output=True, text=True,
            env={**os.environ, "ECMF_WORKERS": "1", **environment}, check=False,
        )  # fmt: skip

    run.folder = tmp_path
    return run


@pytest.mark.slow
def test_jobs_of_an_array_fill_the_cache_and_the_last_call_puts_together(stage):
    call = ("librosa", "audio.h5", "out.h5")
    for number, count in ((1, 2), (2, 3)):
        done = stage(*call, "--shard", f"{number}/2")
        assert done.returncode == 0, done.stderr
        assert f"(shard {number}/2): {count} clips, 0 cached, {count} to compute" in done.stderr
        assert not (stage.folder / "out.h5").exists()
    done = stage(*call)
    assert "5 clips, 5 cached, 0 to compute" in done.stderr
    with Store(stage.folder / "out.h5") as features:
        assert len(features) == 5
        assert all(len(features[clip_id]) for clip_id in features)


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (("librosa", "audio.h5", "out.h5", "--shard", "3/2"), {}, "write i/n with i from 1 to n"),
        (("librosa", "none.h5", "out.h5"), {}, "no store none.h5"),
        (("librosi", "audio.h5", "out.h5"), {}, "Did you mean 'librosa'?"),
        (("librosa", "audio.h5", "out.h5"), {"ECMF_ENGINE": "spark"}, "set it to local or ray"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(stage, arguments, environment, said):
    done = stage(*arguments, **environment)
    assert done.returncode == 1
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert said in line
    assert "Traceback" not in done.stderr
    assert not (stage.folder / "out.h5").exists()
