import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

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


def shelf(**identity):
    return result_cache.Shelf("test", LAYOUTS, identity)


def result(seed, rows=4):
    rng = np.random.default_rng(seed)
    times = np.sort(rng.random(rows))
    crops = [rng.bytes(int(length)) for length in rng.integers(1, 9, rows)]
    samples = rng.integers(-9, 9, 50 * rows).astype("int16")
    return (
        Rows(rng.normal(size=(rows, 3)).astype("float16"), times),
        Rows(crops, times, {"box": rng.random((rows, 4)).astype("float32")}, {"faces": 2.0},
             "flagged", "a face in 4 of 9 frames only"),
        Rows(samples, np.arange(len(samples)) / 16_000),
    )  # fmt: skip


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
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


def test_what_is_put_comes_back_to_the_bit_in_another_run():
    empty = tuple(no_rows(layout, "empty", "nothing") for layout in LAYOUTS)
    put = {"a": result(1), "b": empty, "c": result(2, rows=1)}
    shelf().put(put)
    found = shelf()
    for key, expected in put.items():
        assert key in found
        assert_same(found.get(key), expected)
    assert "d" not in found
    assert found.get("d") is None


def test_another_recipe_has_a_shelf_of_its_own():
    shelf(weights=1).put({"a": result(1)})
    assert "a" not in shelf(weights=2)
    assert "a" not in result_cache.Shelf("test", (VECTORS,), {"weights": 1})
    assert "a" in shelf(weights=1)


def test_a_flipped_bit_costs_that_clip_alone(caplog):
    shelf().put({"a": result(1), "b": result(2), "c": result(3)})
    (pack,) = result_cache.packs_of(shelf().folder)
    content = bytearray(pack.read_bytes())
    at = content.index(result(2)[0].values.tobytes())
    content[at] ^= 1
    pack.write_bytes(content)
    found = shelf()
    assert found.get("b") is None
    assert_same(found.get("a"), result(1))
    assert_same(found.get("c"), result(3))
    assert "1 damaged clips are made again" in caplog.text
    again = shelf()
    assert "b" not in again
    assert "a" in again
    again.put({"b": result(2)})
    assert_same(shelf().get("b"), result(2))


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b"x" * 99])
def test_a_pack_that_is_none_any_more_is_taken_away(damage, caplog):
    shelf().put({"a": result(1)})
    (pack,) = result_cache.packs_of(shelf().folder)
    pack.write_bytes(damage(pack.read_bytes()))
    found = shelf()
    assert "a" not in found
    assert found.get("a") is None
    assert "is damaged" in caplog.text
    assert not result_cache.packs_of(found.folder)


STARTER = """
import sys
sys.path[:0] = {paths!r}
from ecmf.execution import result_cache as cache
from test_result_cache import result, shelf
print("ready", flush=True)
sys.stdin.readline()
for number in range(60):
    found = shelf(number=number)
    found.put({{"{name}": result(number)}})
    cache.prune(1 << 40)
"""


def test_runs_that_start_and_end_at_the_same_moment_do_not_hinder_each_other(folder):
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
            assert name in shelf(number=number)


def test_a_recipe_that_was_opened_just_now_outlives_the_pruning_of_another_run(folder):
    found = shelf()
    result_cache.prune(0)
    found.put({"a": result(1)})
    assert "a" in shelf()
    assert result_cache.verify(found.folder) == (1, 0)


def test_a_disk_that_does_not_answer_costs_no_pack(folder, monkeypatch):
    shelf().put({"a": result(1)})

    def unreachable(*_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(result_cache.cache_packs, "keys", unreachable)
        assert "a" not in shelf()
    found = shelf()
    assert "a" in found
    with monkeypatch.context() as broken:
        broken.setattr(result_cache.cache_packs, "read", unreachable)
        assert found.get("a") is None
    assert_same(shelf().get("a"), result(1))


def test_a_pack_another_run_has_pruned_is_no_trouble():
    shelf().put({"a": result(1)})
    found = shelf()
    assert "a" in found
    for pack in result_cache.packs_of(found.folder):
        pack.unlink()
    assert found.get("a") is None
    assert "a" not in found


def test_two_runs_that_put_the_same_do_no_harm():
    one, two = shelf(), shelf()
    one.put({"a": result(1), "b": result(2)})
    two.put({"a": result(1), "b": result(2)})
    two.put({"b": result(2), "c": result(3)})
    assert len(result_cache.packs_of(one.folder)) == 2
    for key, seed in (("a", 1), ("b", 2), ("c", 3)):
        assert_same(shelf().get(key), result(seed))


WRITER = """
import sys, numpy as np
sys.path[:0] = {paths!r}
from test_result_cache import result, shelf
found = shelf()
number = 0
while True:
    found.put({{str(number + i): result(number + i) for i in range(8)}})
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
        found = shelf()
        for number in range(last):
            assert_same(found.get(str(number)), result(number))


def test_what_was_used_longest_ago_is_pruned_first(folder):
    import os

    for number in range(6):
        found = shelf()
        found.put({str(number): result(7)})
    paths = dict(shelf()._packs)
    for number in range(6):
        os.utime(paths[str(number)], (number, number))
    os.utime(paths["0"])  # used just now
    each = paths["0"].stat().st_size
    pruned = result_cache.prune(int(3.5 * each))
    assert pruned.packs == 3
    assert pruned.bytes_left <= 3.5 * each
    assert {key for key in paths if key in shelf()} == {"0", "4", "5"}


def test_pruning_all_leaves_nothing_of_an_old_recipe_and_no_part_of_a_killed_write(folder):
    import os

    recipe = shelf().folder
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


def test_what_a_run_uses_counts_as_used(folder):
    import os

    for seed in (1, 2):
        shelf(seed=seed).put({"a": result(7)})
        (pack,) = result_cache.packs_of(shelf(seed=seed).folder)
        os.utime(pack, (seed, seed))
    shelf(seed=1).use()
    result_cache.prune(pack.stat().st_size)
    assert "a" in shelf(seed=1)
    assert "a" not in shelf(seed=2)


@pytest.mark.parametrize("given", ["many", "0", "-1", "nan", "inf"])
def test_a_limit_that_is_none_is_refused(given, monkeypatch):
    monkeypatch.setenv("ECMF_CACHE_GIGABYTES", given)
    with pytest.raises(UserError, match="set it to a number above 0"):
        result_cache.most_bytes()


def test_a_queued_experiment_shares_the_cache_of_the_real_checkout(tmp_path, monkeypatch):
    monkeypatch.delenv("ECMF_CACHE")
    copy = tmp_path / ".dvc/tmp/exps/xyz"
    (copy / ".dvc").mkdir(parents=True)
    monkeypatch.chdir(copy)
    assert result_cache.folder() == tmp_path / ".ecmf_cache"


def test_verifying_counts_and_forgets_what_is_damaged():
    shelf().put({"a": result(1), "b": result(2)})
    shelf().put({"c": result(3)})
    (recipe,) = result_cache.recipes()
    assert result_cache.verify(recipe) == (3, 0)
    pack = shelf()._packs["a"]
    content = bytearray(pack.read_bytes())
    content[-1] ^= 1
    pack.write_bytes(content)
    assert result_cache.verify(recipe) == (2, 1)
    assert result_cache.verify(recipe) == (2, 0)
    shelf()._packs["c"].write_bytes(b"")
    assert result_cache.verify(recipe) == (1, 1)
    assert result_cache.verify(recipe) == (1, 0)


def test_a_cache_that_cannot_be_written_says_what_to_do(folder):
    found = shelf()
    for path in found.folder.iterdir():
        path.unlink()
    found.folder.rmdir()
    found.folder.symlink_to("/dev/null/nowhere")
    with pytest.raises(UserError, match=r"the cache cannot be written .*`ecmf cache prune`"):
        found.put({"a": result(1)})


def test_the_head_of_a_pack_is_plain_json():
    import safetensors

    shelf().put({"a": result(1)})
    (pack,) = result_cache.packs_of(shelf().folder)
    with safetensors.safe_open(pack, "numpy") as file:
        clips = json.loads(file.metadata()["clips"])
    assert clips["a"][1]["reason"] == "a face in 4 of 9 frames only"


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "ecmf", "cache", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_lists_verifies_and_prunes():
    shelf(member="clip").put({"a": result(1), "b": result(2)})
    listed = command("list")
    assert "2 clips" in listed.stdout
    assert "test clip" in listed.stdout
    assert "2 results are sound, 0 were damaged" in command("verify").stdout
    (pack,) = result_cache.packs_of(shelf(member="clip").folder)
    content = bytearray(pack.read_bytes())
    content[-1] ^= 1
    pack.write_bytes(content)
    found = command("verify")
    assert found.returncode == 1
    assert "1 results are sound, 1 were damaged" in found.stdout
    assert "0.0 MB left" in command("prune", "--gigabytes", "0").stdout
    assert "clips" not in command("list").stdout.replace("/clips", "")


def test_the_command_says_what_is_wrong_with_the_limit(monkeypatch):
    monkeypatch.setenv("ECMF_CACHE_GIGABYTES", "much")
    done = command("prune")
    assert done.returncode == 1
    assert done.stderr == ("error: ECMF_CACHE_GIGABYTES is 'much': set it to a number above 0\n")
