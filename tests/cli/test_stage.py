"""The encode stages as programs, as a job of an array and DVC call them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ecmf.cli.ending import INTERRUPTED, TERMINATED
from ecmf.cli.stage_log import stage_log
from ecmf.execution import result_cache
from ecmf.execution.clip_log import log_clip
from ecmf.storage.store import Layout, Rows, Store, no_rows
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


def start(folder, *arguments):
    """Start a stage whose progress can be followed, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, ROOT / "stages/encode_audio.py", *arguments], cwd=folder,
        env={**os.environ, "ECMF_WORKERS": "1"}, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("sign", "code"), [(signal.SIGTERM, TERMINATED), (signal.SIGINT, INTERRUPTED)]
)
def test_sigterm_and_ctrl_c_keep_what_is_done(stage, sign, code):
    rng = np.random.default_rng(0)
    with StoreWriter(stage.folder / "long.h5", Layout(dtype="int16", rate=16_000), {}) as out:
        for number in range(2000):
            samples = rng.normal(0, 3000, 4800).astype("int16")
            out.append(f"clip_{number}", Rows(samples, np.arange(4800) / 16_000))
    process = start(stage.folder, "librosa", "long.h5", "out.h5")
    recipes = Path(os.environ["ECMF_CACHE"]) / "clips"
    while not list(recipes.glob("*/*.safetensors")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(sign)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in rest
    (recipe,) = recipes.iterdir()
    assert result_cache.count_clips(recipe) > 0
    assert not list(stage.folder.glob("*out.h5*"))


def test_ctrl_c_during_imports_prints_nothing(stage):
    process = start(stage.folder, "librosa", "audio.h5", "out.h5")
    maps = Path(f"/proc/{process.pid}/maps")
    while "numpy" not in maps.read_text():  # imported by ours
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate()
    assert process.returncode == -signal.SIGINT
    assert printed == ""


def test_a_disk_without_permission_or_space_is_one_line_and_a_code_of_its_own(stage):
    (stage.folder / "cache").write_text("not a folder")
    done = stage("librosa", "audio.h5", "out.h5", ECMF_CACHE=str(stage.folder / "cache"))
    assert done.returncode == os.EX_IOERR
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert "has another kind of file there" in line
    assert "Traceback" not in done.stderr


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


def test_the_log_of_a_stage_names_every_clip_and_how_it_ended(stage):
    with StoreWriter(stage.folder / "some.h5", Layout(dtype="int16", rate=16_000), {}) as out:
        rng = np.random.default_rng(0)
        samples = rng.normal(0, 3000, 4800).astype("int16")
        out.append("heard", Rows(samples, np.arange(4800) / 16_000))
        out.append("mute", no_rows(Layout(dtype="int16", rate=16_000), "empty", "no audio stream"))
    assert stage("librosa", "some.h5", "out.h5").returncode == 0
    assert stage("librosa", "none.h5", "out.h5").returncode == 1
    text = (stage.folder / "logs/encode_audio@librosa.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert {line["stage"] for line in lines} == {"encode_audio@librosa"}
    clips = [(line["clip"], line["kind"]) for line in lines if line["clip"]]
    assert clips == [("heard", "computed"), ("mute", "empty")]
    (reason,) = (line["reason"] for line in lines if line["clip"] == "mute")
    assert "no audio stream" in reason
    ends = [line for line in lines if line["kind"] == "end"]
    assert ends[0]["reason"] == "done" and "no store none.h5" in ends[1]["reason"]
    assert all(line["seconds"] >= 0 for line in lines)
    assert [line["kind"] for line in lines].count("start") == 2


def test_a_log_that_cannot_be_written_stops_no_stage(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs").write_text("a file")
    with stage_log("mine"):
        log_clip("a", "computed")
    assert "no log is written" in caplog.text


def test_a_log_on_a_full_disk_ends_and_the_stage_goes_on(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/mine.jsonl").symlink_to("/dev/full")
    with stage_log("mine"):
        log_clip("a", "computed")
    assert caplog.text.count("the log ends here") == 1
