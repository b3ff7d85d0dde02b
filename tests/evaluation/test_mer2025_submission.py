"""Submission files of MER2025, and the errors for which they would be refused."""

from dataclasses import replace
from pathlib import Path

import pytest
from command import run_ecmf
from corpus import CLASSES, make_corpus
from tables import read_table
from trainings import PARAMS, evaluate, train

from ecmf.cli.submit import check_submission, write_submission
from ecmf.corpora import mer2025
from ecmf.data.manifest import Clip, write_manifest
from ecmf.errors import CorpusError, MissingFileError

ROOT = Path(__file__).resolve().parents[2]
SMALL = PARAMS.model_copy(
    update={"seeds": (0,), "epochs": 2, "folds": 2, "ensemble": ("concat", "baseline")}
)
NAMES = ("z", "b, c", "愤")
CORRECT = 'name,discrete\nz,neutral\n"b, c",surprise\n愤,worried\n'
"""The candidates of MER2025's order: neither that of their names, nor without quotes."""


@pytest.fixture(scope="module")
def predicted(tmp_path_factory):
    """Manifest and predictions of a trained ensemble: five candidates, one without any source."""
    folder = tmp_path_factory.mktemp("predicted")

    def with_candidates(clip):
        if clip.label:
            return clip
        number = int(clip.clip_id.rpartition("_")[2])
        return replace(clip, split="unlabelled" if number == 2 else "candidate")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECMF_CACHE", str(folder / "cache"))
        patch.setenv("ECMF_WORKERS", "1")
        corpus = make_corpus(folder, wild=6, silent=("wild_4",), change=with_candidates)
        train(corpus, folder, SMALL)
        evaluate(corpus, folder, ensemble_weights="validation", class_prior="validation")
    return folder / "manifest.csv", folder / "predictions.csv"


@pytest.fixture
def manifest(tmp_path):
    """A manifest of MER2025, and so with the six classes in the official order."""
    clips = [
        Clip("a", video="a.mp4", split="train", label="sad"),
        *(Clip(name, video="b.mp4", split="candidate") for name in NAMES),
        Clip("d", video="d.mp4", split="unlabelled"),
    ]
    write_manifest(clips, tmp_path / "mer2025.csv")
    return tmp_path / "mer2025.csv"


def test_the_predictions_of_the_candidates_are_written_in_their_order(predicted, tmp_path):
    manifest, predictions = predicted
    out = tmp_path / "new/answers.csv"
    summary = write_submission(manifest, predictions, out)
    rows = {row["clip_id"]: row for row in read_table(predictions)}
    order = [f"wild_{number}" for number in (0, 1, 3, 4, 5)]
    expected = [f"{name},{rows[name]['predicted']}" for name in order]
    assert out.read_bytes().decode() == "\n".join(["name,discrete", *expected, ""])
    counts = [sum(line.endswith(f",{name}") for line in expected) for name in CLASSES]
    counted = ", ".join(f"{name} {count}" for name, count in zip(CLASSES, counts, strict=True))
    assert summary == f"{out}: 5 candidates ({counted}), 1 of them predicted without any source"
    assert rows["wild_4"]["sources"] == "0" and rows["wild_4"]["predicted"] in CLASSES
    assert check_submission(manifest, out) == f"{out}: 5 candidates ({counted})"


def test_the_official_classes_are_used_whichever_occur_in_the_manifest(manifest, tmp_path):
    (tmp_path / "correct.csv").write_text(CORRECT, encoding="utf-8")
    assert check_submission(manifest, tmp_path / "correct.csv").endswith(
        "3 candidates (neutral 1, angry 0, happy 0, sad 0, worried 1, surprise 1)"
    )
    assert len(mer2025.Corpus.classes) == 6


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda text: text.replace("name,", "names,"), "'names,discrete', not 'name,discrete'"),
        (lambda text: "\ufeff" + text, r"first line is '\\ufeffname,discrete'"),
        (lambda text: "", "the first line is ''"),
        (lambda text: text.split("\n", 1)[1], "the first line is 'z,neutral'"),
        (lambda text: text.replace("\n", "\r\n"), "carriage returns"),
        (lambda text: text.replace("\n", "\r"), "not a csv file: new-line character"),
        (lambda text: text.replace('c",', 'c"x,'), "not a csv file: "),
        (lambda text: text[:-1], "the last line has no line feed"),
        (lambda text: text[:-4] + "\n", r"'愤': unknown class 'worr'.*Did you mean 'worried'"),
        (lambda text: text.replace("neutral", "Neutral"), "'z': unknown class 'Neutral'"),
        (lambda text: text.replace(",neutral", ""), "line 2 has 1 fields, not 2"),
        (lambda text: text + "\n", "line 5 has 0 fields, not 2"),
        (lambda text: text.replace("z,neutral\n", ""), "candidate 'z' is missing"),
        (lambda text: text + "z,neutral\n", "'z' occurs 2 times"),
        (lambda text: text + "a,sad\n", "'a' is not a candidate"),
        (lambda text: text.replace("z,", "d,"), "'d' is not a candidate(.*\n)*.*'z' is missing"),
        (
            lambda text: "name,discrete\n" + text.split("\n", 1)[1][10:] + "z,neutral\n",
            "candidate 1 is 'b, c', not 'z': keep their order",
        ),
    ],
)
def test_a_file_that_would_be_refused_is_refused_here(change, error, manifest, tmp_path):
    path = tmp_path / "wrong.csv"
    path.write_bytes(change(CORRECT).encode())
    with pytest.raises(CorpusError, match=error):
        check_submission(manifest, path)


def test_a_file_in_another_encoding_is_refused(manifest, tmp_path):
    (tmp_path / "wrong.csv").write_bytes(CORRECT.encode("gb18030"))
    with pytest.raises(CorpusError, match=r"not UTF-8: .* at byte \d+"):
        check_submission(manifest, tmp_path / "wrong.csv")


def test_of_many_errors_some_are_listed_and_the_others_counted(manifest, tmp_path):
    (tmp_path / "wrong.csv").write_text(CORRECT + "".join(f"x{i},sad\n" for i in range(50)))
    with pytest.raises(CorpusError, match=r"50 errors(.*\n)*  and 30 more$"):
        check_submission(manifest, tmp_path / "wrong.csv")


def test_a_corpus_without_candidates_has_nothing_to_submit(predicted, tmp_path):
    write_manifest([Clip("a", video="a.mp4", label="sad")], tmp_path / "other.csv")
    for call in (
        lambda: write_submission(tmp_path / "other.csv", predicted[1], tmp_path / "out.csv"),
        lambda: check_submission(tmp_path / "other.csv", tmp_path / "out.csv"),
    ):
        with pytest.raises(CorpusError, match="no clip of the split candidate, but 1 train"):
            call()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (
            lambda lines: [*lines[:3], *lines[4:]],
            r"line 3 has 's0_3' \(test\), the manifest 's0_2'",
        ),
        (
            lambda lines: lines[:-1],
            "predictions.csv does not belong to .*95 clips, the manifest has 96",
        ),
        (
            lambda lines: [line.replace(",candidate,", ",test,") for line in lines],
            r"'wild_0' \(test\)",
        ),
        (lambda lines: [line.replace("sources", "source") for line in lines], "no column sources"),
        (
            lambda lines: [*lines[:-1], "wild_5,candidate,,,,,,,,0"],
            "no prediction for 1 candidates, e.g. 'wild_5'",
        ),
        (
            lambda lines: [*lines[:-1], "wild_5,candidate,,joy,,,,,,0"],
            "'wild_5': unknown class 'joy'",
        ),
    ],
)
def test_predictions_that_do_not_match_the_manifest_write_nothing(
    change, error, predicted, tmp_path
):
    manifest, predictions = predicted
    (tmp_path / "predictions.csv").write_text(
        "\n".join(change(predictions.read_text().splitlines())) + "\n"
    )
    out = tmp_path / "out.csv"
    out.write_text("an older submission")
    with pytest.raises(CorpusError, match=error):
        write_submission(manifest, tmp_path / "predictions.csv", out)
    assert out.read_text() == "an older submission"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "predictions.csv"]


def test_errors_for_missing_files_name_the_command_that_creates_them(predicted, manifest, tmp_path):
    with pytest.raises(MissingFileError, match="run `dvc repro evaluate_fusion`"):
        write_submission(manifest, tmp_path / "none.csv", tmp_path / "out.csv")
    with pytest.raises(MissingFileError, match=r"none\.csv to check: .*ecmf submit"):
        check_submission(manifest, tmp_path / "none.csv")


def run(*arguments):
    return run_ecmf("submit", *arguments)


def test_the_command_writes_and_checks(predicted, tmp_path):
    out = tmp_path / "out.csv"
    wrote = run(*predicted, out)
    assert wrote.returncode == 0 and wrote.stdout.startswith(f"{out}: 5 candidates (angry ")
    checked = run(predicted[0], "--check", out)
    assert checked.returncode == 0 and "5 candidates (angry " in checked.stdout
    out.write_text(out.read_text() + "more,sad\n")
    refused = run(predicted[0], "--check", out)
    assert refused.returncode == 1 and "error: " in refused.stderr
    assert "'more' is not a candidate" in refused.stderr and "Traceback" not in refused.stderr
    assert run(*predicted, out, "--check", out).returncode == 2
    assert run(predicted[0], predicted[1]).returncode == 2
