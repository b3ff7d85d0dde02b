"""Results are written with one rule for failures, reasons and the error budget."""

import resource

import numpy as np
import pytest

from ecmf.errors import ErrorBudgetError
from ecmf.execution.process_pool import Failure
from ecmf.execution.result_writer import OutputStore, ResultWriter, write_results
from ecmf.storage.store import Layout, Rows, Store, no_rows

LAYOUT = Layout((2,))
ROWS = Rows(np.ones((3, 2), "float32"), np.arange(3.0))


@pytest.fixture
def stores(tmp_path):
    return [OutputStore(tmp_path / f"{name}.h5", LAYOUT, {}) for name in ("frames", "audio")]


def flagged(reason):
    return Rows(ROWS.values, ROWS.times, state="flagged", reason=reason)


def failed(reason):
    return no_rows(LAYOUT, "failed", reason)


def test_a_failed_clip_stands_in_every_store_with_its_reason(stores, caplog):
    results = [("a", (ROWS, ROWS)), ("b", Failure("killed")), ("c", (ROWS, failed("no sound")))]
    write_results(results, stores, budget=1)
    with Store(stores[0].path) as frames, Store(stores[1].path) as audio:
        assert list(frames) == list(audio) == ["a", "b", "c"]
        assert frames.state("b") == audio.state("b") == ("failed", "killed")
        assert (frames.state("c")[0], audio.state("c")) == ("whole", ("failed", "no sound"))
    assert "failed: b: killed" in caplog.text and "failed: c: audio: no sound" in caplog.text


def test_flags_are_returned_and_a_reason_of_all_parts_is_named_once(stores):
    both, one = flagged("cut off"), flagged("quiet")
    reasons = write_results([("a", (both, both)), ("b", (ROWS, one))], stores, budget=0)
    assert reasons == {"a": "cut off", "b": "audio: quiet"}


def test_too_many_failures_leave_the_stores_of_before(stores, tmp_path):
    write_results([("a", (ROWS, ROWS))], stores, budget=0)
    before = [store.path.read_bytes() for store in stores]
    with pytest.raises(ErrorBudgetError, match=r"1 of 2 clips failed.*\n.*b: killed"):
        write_results([("a", (ROWS, ROWS)), ("b", Failure("killed"))], stores, budget=0.4)
    assert [store.path.read_bytes() for store in stores] == before
    listed = tmp_path / "frames.failed.csv"
    assert listed.read_text() == "clip_id,reason\nb,killed\n"
    write_results([("a", (ROWS, ROWS))], stores, budget=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audio.h5", "frames.h5"]


def test_a_disk_that_fills_up_at_the_second_store_leaves_both_of_before(stores, tmp_path):
    write_results([("a", (ROWS, ROWS))], stores, budget=0)
    before = [store.path.read_bytes() for store in stores]
    large = Rows(np.ones((90_000, 2), "float32"), np.arange(90_000.0))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before[0]) + 10_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_results([("a", (ROWS, large))], stores, budget=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [store.path.read_bytes() for store in stores] == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audio.h5", "frames.h5"]


@pytest.mark.parametrize("budget", [0.0, 1.0])
def test_failures_of_one_kind_are_one_line_with_a_count_and_three_clips(stores, caplog, budget):
    results = [(f"c{i}", Failure(f"data/my/{i}.wav: cut off at {i} s")) for i in range(300)]
    results += [("d", Failure("killed"))]
    text = ""
    try:
        write_results(results, stores, budget)
    except ErrorBudgetError as error:
        text = str(error)
        assert stores[0].path.with_suffix(".failed.csv").read_text().count("\n") == 302
    text += caplog.text
    expected = "c0: data/my/0.wav: cut off at 0 s (300 clips of this kind, also c1, c2, ...)"
    assert expected in text and "d: killed" in text and "c3" not in text


def test_clips_are_counted_once_by_their_worst_part(stores, caplog):
    caplog.set_level("INFO")
    results = [("a", (ROWS, flagged("x"))), ("b", (failed("y"), ROWS)), ("c", (ROWS, ROWS))]
    with ResultWriter(*stores) as out:
        out.write(results, budget=1)
        assert out.rows == 15
    assert "clips: 1 whole, 1 flagged, 1 failed" in caplog.text
