import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import run_ecmf

from ecmf.errors import UserError
from ecmf.execution import result_cache
from ecmf.storage.store import Layout, Rows, no_rows

ROOT = Path(__file__).resolve().parents[2]
VECTORS = Layout((3,), "float16")
CROPS = Layout(jpeg=True, columns={"box": (4,)})
SOUND = Layout(dtype="int16", rate=16_000)
LAYOUTS = (VECTORS, CROPS, SOUND)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def open_cache(**identity):
    return result_cache.ResultCache("test", LAYOUTS, identity)


def result(seed, rows=4):
    rng = np.random.default_rng(seed)
    times = np.sort(rng.random(rows))
    crops = [rng.bytes(int(length)) for length in rng.integers(1, 9, rows)]
    samples = rng.integers(-9, 9, 50 * rows).astype("int16")
    return (
        Rows(rng.normal(size=(rows, 3)).astype("float16"), times),
        Rows(crops, times, {"box": rng.random((rows, 4)).astype("float32")}, {"faces": 2.0},
             "flagged", "a face in 4 of 9 frames only"),
        Rows(samples, np.empty(0)),
    )  # fmt: skip


def assert_same(actual, expected):
    assert len(actual) == len(expected)
    for a, b in zip(actual, expected, strict=True):
        assert (a.state, a.reason, dict(a.facts)) == (b.state, b.reason, dict(b.facts))
        np.testing.assert_array_equal(a.times, b.times)
        if isinstance(a.values, list):
            assert a.values == b.values
        else:
            assert a.values.dtype == b.values.dtype
            np.testing.assert_array_equal(a.values, b.values)
        assert set(a.columns) == set(b.columns)
        for name in a.columns:
            np.testing.assert_array_equal(a.columns[name], b.columns[name])


def test_a_result_is_read_back_to_the_bit_in_another_run():
    empty = tuple(no_rows(layout, "empty", "nothing") for layout in LAYOUTS)
    results = {"a": result(1), "b": empty, "c": result(2, rows=1)}
    open_cache().put(results)
    cache = open_cache()
    for key, expected in results.items():
        assert key in cache
        assert_same(cache.get(key), expected)
    assert "d" not in cache
    assert cache.get("d") is None


def test_another_recipe_has_a_cache_of_its_own():
    open_cache(weights=1).put({"a": result(1)})
    assert "a" not in open_cache(weights=2)
    assert "a" not in result_cache.ResultCache("test", (VECTORS,), {"weights": 1})
    assert "a" in open_cache(weights=1)


def test_a_flipped_bit_costs_that_clip_alone(caplog):
    open_cache().put({"a": result(1), "b": result(2), "c": result(3)})
    (pack,) = result_cache.pack_paths(open_cache().folder)
    content = bytearray(pack.read_bytes())
    at = content.index(result(2)[0].values.tobytes())
    content[at] ^= 1
    pack.write_bytes(content)
    cache = open_cache()
    assert cache.get("b") is None
    assert_same(cache.get("a"), result(1))
    assert_same(cache.get("c"), result(3))
    assert "1 damaged clips are computed again" in caplog.text
    again = open_cache()
    assert "b" not in again
    assert "a" in again
    again.put({"b": result(2)})
    assert_same(open_cache().get("b"), result(2))


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b"x" * 99])
def test_an_unreadable_pack_is_removed(damage, caplog):
    open_cache().put({"a": result(1)})
    (pack,) = result_cache.pack_paths(open_cache().folder)
    pack.write_bytes(damage(pack.read_bytes()))
    cache = open_cache()
    assert "a" not in cache
    assert cache.get("a") is None
    assert "is damaged" in caplog.text
    assert not result_cache.pack_paths(cache.folder)


STARTER = """
import sys
sys.path[:0] = {paths!r}
from ecmf.execution import result_cache
from test_result_cache import open_cache, result
print("ready", flush=True)
sys.stdin.readline()
for number in range(60):
    cache = open_cache(number=number)
    cache.put({{"{name}": result(number)}})
    result_cache.prune(1 << 40)
"""


def test_runs_that_start_and_end_at_the_same_moment_do_not_disturb_each_other(folder):
    paths = [str(Path(__file__).parent), *filter(None, sys.path)]
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", STARTER.format(paths=paths, name=name)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for name in "abc"
    ]  # fmt: skip
    for run in runs:
        assert run.stdout.readline() == "ready\n"
    for run in runs:
        run.stdin.write("\n")
        run.stdin.flush()
    for run in runs:
        _, errors = run.communicate()
        assert run.returncode == 0, errors
    for number in range(60):
        for name in "abc":
            assert name in open_cache(number=number)


def test_a_recipe_that_was_opened_just_now_outlives_the_pruning_of_another_run(folder):
    cache = open_cache()
    result_cache.prune(0)
    cache.put({"a": result(1)})
    assert "a" in open_cache()
    assert result_cache.verify(cache.folder) == (1, 0)


def test_a_disk_that_does_not_respond_costs_no_pack(folder, monkeypatch):
    open_cache().put({"a": result(1)})

    def unreachable(*_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(result_cache.cache_packs, "read_keys", unreachable)
        assert "a" not in open_cache()
    cache = open_cache()
    assert "a" in cache
    with monkeypatch.context() as broken:
        broken.setattr(result_cache.cache_packs, "read", unreachable)
        assert cache.get("a") is None
    assert_same(open_cache().get("a"), result(1))


def test_a_pack_that_another_run_pruned_is_no_error():
    open_cache().put({"a": result(1)})
    cache = open_cache()
    assert "a" in cache
    for pack in result_cache.pack_paths(cache.folder):
        pack.unlink()
    assert cache.get("a") is None
    assert "a" not in cache


def test_two_runs_that_put_the_same_do_no_harm():
    one, two = open_cache(), open_cache()
    one.put({"a": result(1), "b": result(2)})
    two.put({"a": result(1), "b": result(2)})
    two.put({"b": result(2), "c": result(3)})
    assert len(result_cache.pack_paths(one.folder)) == 2
    for key, seed in (("a", 1), ("b", 2), ("c", 3)):
        assert_same(open_cache().get(key), result(seed))


WRITER = """
import sys, numpy as np
sys.path[:0] = {paths!r}
from test_result_cache import open_cache, result
cache = open_cache()
number = 0
while True:
    cache.put({{str(number + i): result(number + i) for i in range(8)}})
    number += 8
    print(number, flush=True)
"""


def test_a_kill_at_any_moment_leaves_only_whole_packs(folder):
    code = WRITER.format(paths=[str(Path(__file__).parent), *filter(None, sys.path)])
    for kills in range(1, 4):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(5 * kills):
            last = int(process.stdout.readline())
        process.kill()
        process.communicate()
        cache = open_cache()
        for number in range(last):
            assert_same(cache.get(str(number)), result(number))


def test_the_least_recently_used_packs_are_pruned_first(folder):
    import os

    for number in range(6):
        cache = open_cache()
        cache.put({str(number): result(7)})
    paths = dict(open_cache()._packs)
    for number in range(6):
        os.utime(paths[str(number)], (number, number))
    os.utime(paths["0"])  # used just now
    each = paths["0"].stat().st_size
    pruned = result_cache.prune(int(3.5 * each))
    assert pruned.packs == 3
    assert pruned.bytes_left <= 3.5 * each
    assert {key for key in paths if key in open_cache()} == {"0", "4", "5"}


def test_pruning_all_leaves_nothing_of_an_old_recipe_and_no_part_of_a_killed_write(folder):
    import os

    recipe = open_cache().folder
    part = recipe / ".abc.part"
    part.write_bytes(b"half")
    result_cache.prune(0)
    assert part.exists()  # perhaps it is being written
    os.utime(part, (0, 0))
    result_cache.prune(0)
    assert not part.exists()
    os.utime(recipe, (0, 0))
    result_cache.prune(0)
    assert list(folder.rglob("*")) == [folder / "clips"]


def test_results_of_another_version_are_neither_listed_nor_verified_but_pruned(folder):
    cache = open_cache()
    cache.put({"a": result(1)})
    (cache.folder / result_cache.RECIPE_FILE).rename(cache.folder / "about.json")
    assert result_cache.recipe_folders() == []
    assert result_cache.prune(0).packs == 1


def test_touching_a_recipe_marks_its_packs_as_used(folder):
    import os

    for seed in (1, 2):
        open_cache(seed=seed).put({"a": result(7)})
        (pack,) = result_cache.pack_paths(open_cache(seed=seed).folder)
        os.utime(pack, (seed, seed))
    open_cache(seed=1).touch()
    result_cache.prune(pack.stat().st_size)
    assert "a" in open_cache(seed=1)
    assert "a" not in open_cache(seed=2)


@pytest.mark.parametrize("setting", ["many", "0", "-1", "nan", "inf"])
def test_an_invalid_size_limit_is_refused(setting, monkeypatch):
    monkeypatch.setenv("ECMF_CACHE_GIGABYTES", setting)
    with pytest.raises(UserError, match="set it to a number above 0"):
        result_cache.size_limit()


def test_a_queued_experiment_shares_the_cache_of_the_real_checkout(tmp_path, monkeypatch):
    monkeypatch.delenv("ECMF_CACHE")
    copy = tmp_path / ".dvc/tmp/exps/xyz"
    (copy / ".dvc").mkdir(parents=True)
    monkeypatch.chdir(copy)
    assert result_cache.root_folder() == tmp_path / ".ecmf_cache"


def test_verifying_counts_and_discards_damaged_results():
    open_cache().put({"a": result(1), "b": result(2)})
    open_cache().put({"c": result(3)})
    (recipe,) = result_cache.recipe_folders()
    assert result_cache.verify(recipe) == (3, 0)
    pack = open_cache()._packs["a"]
    content = bytearray(pack.read_bytes())
    content[-1] ^= 1
    pack.write_bytes(content)
    assert result_cache.verify(recipe) == (2, 1)
    assert result_cache.verify(recipe) == (2, 0)
    open_cache()._packs["c"].write_bytes(b"")
    assert result_cache.verify(recipe) == (1, 1)
    assert result_cache.verify(recipe) == (1, 0)


def test_the_error_of_an_unwritable_cache_names_the_remedy(folder):
    cache = open_cache()
    for path in cache.folder.iterdir():
        path.unlink()
    cache.folder.rmdir()
    cache.folder.symlink_to("/dev/null/nowhere")
    with pytest.raises(UserError, match=r"cannot write to the cache .*set ECMF_CACHE"):
        cache.put({"a": result(1)})


def test_the_metadata_of_a_pack_is_plain_json():
    import safetensors

    open_cache().put({"a": result(1)})
    (pack,) = result_cache.pack_paths(open_cache().folder)
    with safetensors.safe_open(pack, "numpy") as file:
        clips = json.loads(file.metadata()["clips"])
    assert clips["a"][1]["reason"] == "a face in 4 of 9 frames only"


def command(*arguments):
    return run_ecmf("cache", *arguments)


def test_the_command_lists_verifies_and_prunes():
    open_cache(encoder="clip").put({"a": result(1), "b": result(2)})
    listed = command("list")
    assert "2 clips" in listed.stdout
    assert "test clip" in listed.stdout
    assert "2 results are intact, 0 were damaged" in command("verify").stdout
    (pack,) = result_cache.pack_paths(open_cache(encoder="clip").folder)
    content = bytearray(pack.read_bytes())
    content[-1] ^= 1
    pack.write_bytes(content)
    verified = command("verify")
    assert verified.returncode == 1
    assert "1 results are intact, 1 were damaged" in verified.stdout
    assert "0.0 MB left" in command("prune", "--gigabytes", "0").stdout
    assert "clips" not in command("list").stdout.replace("/clips", "")


def test_the_command_names_an_invalid_size_limit(monkeypatch):
    monkeypatch.setenv("ECMF_CACHE_GIGABYTES", "much")
    done = command("prune")
    assert done.returncode == 1
    assert done.stderr == ("error: ECMF_CACHE_GIGABYTES is 'much': set it to a number above 0\n")
