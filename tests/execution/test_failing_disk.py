"""Whichever operation of the disk fails, the error is one line, and old outputs stay."""

import errno
import shutil
from itertools import count

import numpy as np
import pytest
from corpus import make_corpus
from failing_disk import KINDS, failing_disk
from trainings import PARAMS, evaluate, train

from ecmf.encoding.feature_archive import write_archive
from ecmf.errors import UserError
from ecmf.execution import engine
from ecmf.execution.recipe import ClipInput, PoolRecipe
from ecmf.execution.result_writer import OutputStore, write_results
from ecmf.storage.disk import disk_error
from ecmf.storage.files import sha256, write_csv, write_json
from ecmf.storage.store import Layout, Rows

pytestmark = pytest.mark.usefixtures("one_worker")

LAYOUT = Layout((3,))
SMALL = PARAMS.model_copy(update={"folds": 2, "seeds": (0,), "epochs": 1})
FAILURES = [
    pytest.param("write", errno.EIO, marks=pytest.mark.slow), ("write", errno.ENOSPC),
    ("read", errno.EIO), ("read", errno.EACCES),
    ("fsync", errno.EIO), ("rename", errno.EACCES), ("rename", errno.EIO),
]  # fmt: skip


def twice(number):
    rows = Rows(np.full((40, 3), number, "float32"), np.arange(40.0))
    return rows, rows


def engine_stage(folder):
    """Run a recipe into two stores, as decode_video does, and write the small formats."""
    recipe = PoolRecipe("twice", (LAYOUT, LAYOUT), {}, twice)
    clips = [ClipInput(str(i), str(i), lambda i=i: i) for i in range(3)]
    results = engine.run(recipe, clips)
    stores = [OutputStore(folder / f"{name}.h5", LAYOUT, {}) for name in "ab"]
    write_results(results, stores, budget=0)
    write_json(folder / "scores.json", {"a": 1})
    write_csv(folder / "labels.csv", [["a", "b"]] * 3)
    write_archive(folder / "features.npz", "x", [("a", np.ones((2, 3), "float32"))])


def files_of(folder):
    return {str(p.relative_to(folder)): sha256(p) for p in folder.rglob("*") if p.is_file()}


def assert_survives(stage, folder, whole, kind, number, numbers):
    """Let each of `numbers` operations fail, and the stage be run again, until none is left."""
    names = list(whole)
    for first in numbers:
        out, cache = folder / "out", folder / "cache"
        shutil.rmtree(cache, ignore_errors=True)
        shutil.rmtree(out, ignore_errors=True)
        for name in names:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_text("old")
        old = sha256(out / names[0])
        with failing_disk(folder, kind, first, number) as disk:
            try:
                stage(out)
            except OSError as error:
                assert error.errno == number and disk_error(error)
            except UserError:
                assert disk.failed
        left = files_of(out)
        assert set(left) == set(names), f"{kind} {first}: {set(left) ^ set(names)}"
        assert all(left[name] in (old, whole[name]) for name in names), f"{kind} {first}"
        if not disk.failed:
            assert left == whole
            return first
        stage(out)
        assert files_of(out) == whole
    return None


@pytest.mark.parametrize(("kind", "number"), FAILURES)
def test_each_operation_of_a_stage_may_fail(tmp_path, kind, number):
    assert kind in KINDS
    engine_stage(tmp_path / "whole")
    whole = files_of(tmp_path / "whole")
    assert len(whole) == 5
    tried = assert_survives(engine_stage, tmp_path, whole, kind, number, count(1))
    assert tried > 2


def training_stages(corpus):
    """Return a stage that refines labels, trains and evaluates into a folder."""

    def run(folder):
        folder.mkdir(exist_ok=True)
        train(corpus, folder, SMALL)
        evaluate(corpus, folder)

    return run


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "number"), FAILURES)
def test_each_operation_of_labels_training_and_evaluation_may_fail(tmp_path, kind, number):
    stage = training_stages(make_corpus(tmp_path / "corpus", speakers=6, each=6))
    stage(tmp_path / "whole")
    whole = files_of(tmp_path / "whole")
    some = (1, 4, 16, 10_000)
    assert assert_survives(stage, tmp_path, whole, kind, number, some)
