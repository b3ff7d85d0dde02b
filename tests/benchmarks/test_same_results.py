"""Two folders of results are the same to the bit, or the comparison says which value is not."""

import csv
import json
import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

from support import result_files
from support.result_differences import compare_results, table

STORE, LABELS, SCORES = "data/audio.h5", "data/labels.csv", "metrics/evaluation.json"
WEIGHTS, TEXTS, CARD = "models/fusion/ecmf/seed0.safetensors", "data/text.jsonl", "card.yaml"


def write_store(path, values, reason="", member="librosa"):
    with h5py.File(path, "w") as file:
        file["values"] = np.asarray(values, "float32")
        file["facts/seconds"] = np.array([1.0, 2.0])
        file["clip_ids"] = np.array([b"a", b"b"])
        file.create_dataset("reasons", data=["", reason], dtype=h5py.string_dtype())
        file.attrs["provenance"] = json.dumps({"member": member})


def write_results(folder):
    for name in ("data/raw", "metrics", "models/fusion/ecmf"):
        (folder / name).mkdir(parents=True)
    (folder / "data/README.md").write_text(str(folder))
    (folder / "data/raw/a.wav").write_bytes(b"sound")
    write_store(folder / STORE, [[0.0, 1.0], [2.0, np.nan]])
    (folder / LABELS).write_text("clip_id,label,weight\na,happy,1.0\nb,sad,0.5\n")
    (folder / TEXTS).write_text('{"clip_id": "a", "text": "one\u2028line"}\n{"clip_id": "b"}\n')
    (folder / SCORES).write_text(json.dumps({"test": {"waf": 0.75, "clips": 2}}))
    (folder / "metrics/confusion.png").write_bytes(b"drawing")
    (folder / "models/fusion" / CARD).write_text("member: stages.one\nbest_epoch: 3\n")
    save_file({"first": np.ones(3, "float32"), "second": np.zeros(2, "float32")}, folder / WEIGHTS)


@pytest.fixture
def sides(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    write_results(old)
    write_results(new)
    return old, new


def faults(sides):
    return {one.name: one.faults for one in compare_results(*sides) if one.faults}


def form(sides):
    assert faults(sides) == {}
    return {one.name: list(one.form) for one in compare_results(*sides) if one.form}


def test_equal_results_are_equal_to_the_bit_and_counted(sides):
    findings = {one.name: one for one in compare_results(*sides)}
    assert form(sides) == {}
    assert findings[STORE].compared == "4 parts, 10 values"
    assert findings[LABELS].compared == "3 parts, 6 values"
    assert len(findings) == 8
    assert table(list(findings.values())).count("equal to the bit") == 8


def test_the_smallest_change_of_one_value_is_found_and_measured(sides):
    write_store(sides[1] / STORE, [[-0.0, 1.0], [2.5, np.nan]])
    assert faults(sides) == {STORE: ["differs: values, 2 of 4"]}
    assert "**values that differ: 2, by at most 0.5**" in table(compare_results(*sides))


def test_another_type_of_the_same_numbers_is_found(sides):
    with h5py.File(sides[1] / STORE, "a") as file:
        del file["facts/seconds"]
        file["facts/seconds"] = np.array([1.0, 2.0], "float32")
    (fault,) = faults(sides)[STORE]
    assert fault == "differs: facts/seconds, 2 of 2, (2,) float64 -> (2,) float32"


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        (LABELS, "clip_id,label,weight\na,happy,1.0\nb,happy,0.5\n", "differs: label, 1 of 2"),
        (LABELS, "clip_id,label\na,happy\nb,sad\n", "only in old: weight"),
        (SCORES, '{"test": {"waf": 0.7500000000000001, "clips": 2}}', "differs: /test/waf, 1 of 1"),
        (TEXTS, '{"clip_id": "a", "text": "1"}\n{"clip_id": "b"}\n', "differs: /0/text, 1 of 1"),
        (TEXTS, '{"clip_id": "a", "text": "one\u2028line"}\n', "differs: /length, 1 of 1"),
        ("models/fusion/card.yaml", "member: x\nbest_epoch: 4\n", "differs: /best_epoch, 1 of 1"),
        ("data/raw/a.wav", "noise", "differs: a.wav, 1 of 1"),
        (SCORES, '{"testing": {"WAF": 0.75}}', "no part is in both"),
    ],
)
def test_a_different_value_is_a_fault_of_its_file(sides, name, content, fault):
    (sides[1] / name).write_text(content)
    (found,) = faults(sides).values()
    assert found == [fault]


def test_a_row_more_is_a_fault_of_every_column(sides):
    with (sides[1] / LABELS).open("a", newline="") as file:
        csv.writer(file).writerow(["c", "sad", "1.0"])
    assert len(faults(sides)[LABELS]) == 3


def test_a_tensor_of_other_values_is_found(sides):
    changed = {"first": np.ones(3, "float32"), "second": np.ones(2, "float32")}
    save_file(changed, sides[1] / WEIGHTS)
    assert list(faults(sides).values()) == [["differs: seed0/second, 2 of 2"]]


@pytest.mark.parametrize("side", [0, 1])
def test_a_file_of_one_side_is_a_fault(sides, side):
    (sides[side] / LABELS).unlink()
    assert faults(sides) == {LABELS: [f"only in {('new', 'old')[side]}"]}


def test_renamed_columns_and_tensors_of_equal_content_are_of_form(sides):
    (sides[1] / LABELS).write_text("clip_id,class,weight\na,happy,1.0\nb,sad,0.5\n")
    tensors = {"last": np.ones(3, "float32"), "second": np.zeros(2, "float32")}
    save_file(tensors, sides[1] / WEIGHTS)
    assert form(sides) == {
        LABELS: ["renamed: label -> class"],
        "models/fusion/ecmf/*.safetensors": ["renamed: seed0/first -> seed0/last"],
    }


def test_keys_attributes_descriptions_and_drawings_are_of_form(sides):
    new = sides[1]
    write_store(new / STORE, [[0.0, 1.0], [2.0, np.nan]], member="classic")
    (new / SCORES).write_text('{"test": {"waf": 0.75, "rows": 2}}')
    (new / "models/fusion" / CARD).write_text("member: two\nbest_epoch: 3\n")
    (new / "metrics/confusion.png").write_bytes(b"another")
    assert form(sides) == {
        STORE: ["differs: @/provenance/member"],
        SCORES: ["only in old: /test/clips", "only in new: /test/rows"],
        "models/fusion/card.yaml": ["differs: @/member"],
        "metrics/… (hashes)": ["differs: @confusion.png"],
    }


def test_declared_renamings_are_followed_and_values_still_compared(sides, monkeypatch):
    old, new = sides
    words = {"sad": "sadness", "weight": "share", "facts": "measured", "waf": "weighted_f1"}
    monkeypatch.setattr(result_files, "RENAMED_WORDS", words)
    monkeypatch.setattr(result_files, "RENAMED_FILES", {"models/fusion": "models/joined"})
    shutil.move(new / "models/fusion", new / "models/joined")
    (new / LABELS).write_text("clip_id,label,share\na,happy,1.0\nb,sadness,0.5\n")
    (new / SCORES).write_text('{"test": {"weighted_f1": 0.75, "clips": 2}}')
    with h5py.File(new / STORE, "a") as file:
        file.move("facts", "measured")
    assert form((old, new)) == {}
    (new / SCORES).write_text('{"test": {"weighted_f1": 0.5, "clips": 2}}')
    assert faults((old, new)) == {SCORES: ["differs: /test/weighted_f1, 1 of 1"]}


def test_a_renaming_that_would_hide_a_column_is_refused(sides, monkeypatch):
    monkeypatch.setattr(result_files, "RENAMED_WORDS", {"label": "weight"})
    with pytest.raises(ValueError, match="two parts are named 'weight'"):
        compare_results(*sides)
