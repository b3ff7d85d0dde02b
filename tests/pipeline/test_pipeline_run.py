"""The pipeline as a user runs it: DVC, real stages, a small sample corpus, its own checkout."""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from checkout import copy_project
from llm_double import answer, completion, fake_server
from tables import read_table

ROOT = Path(__file__).resolve().parents[2]

SMALL = {
    "make_sample": {
        "train_actors": 4,
        "val_actors": 1,
        "test_actors": 2,
        "unlabelled_actors": 1,
        "clips_per_actor": 6,
        "clips_per_unlabelled_actor": 2,
        "missing_of_each": 1,
    },
    "decode_video": {"frames": 4},
    "refine_labels": {"folds": 2},
    "train_fusion": {"folds": 2, "seeds": [0], "epochs": 4},
}
IDENTITY = {f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")}  # fmt: skip


class Checkout:
    """A folder with the project's files, under git, with small parameters."""

    def __init__(self, folder, **environment):
        self.folder = folder
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment = {**os.environ, "PATH": path, "GIT_CONFIG_GLOBAL": os.devnull}
        self.environment |= environment
        self.environment.pop("OMP_NUM_THREADS", None)  # as a user has it
        self.environment["PYTHONPATH"] = str(folder / "stages")  # `python -m ecmf` is this copy's
        copy_project(folder, without={"dvc.lock", "data/sample/dvc.lock"})
        params = yaml.safe_load((folder / "params.yaml").read_text())
        for section, change in SMALL.items():
            params[section].update(change)
        (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
        self.git("init", "--quiet")

    def run(self, *command):
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def git(self, *arguments):
        return self.run("git", *arguments)

    def commit(self, message):
        self.environment |= IDENTITY
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def dvc(self, *arguments):
        return self.run("dvc", *arguments)

    def evaluation(self, name="evaluation"):
        return json.loads((self.folder / f"metrics/{name}.json").read_text())

    def outputs(self):
        folders = [self.folder / name for name in ("data", "models", "metrics")]
        files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in sorted(files)}


SAMPLE = "data/sample/dvc.yaml:make_sample"


def stages_run(output):
    return set(re.findall(r"Running stage '([^']+)'", output))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    made = Checkout(tmp_path_factory.mktemp("checkout"), ECMF_WORKERS="2")
    made.first_run = made.dvc("repro")
    made.commit("scores")
    return made


@pytest.fixture
def clean(checkout):
    """The checkout as it was committed, whatever the last test did to it."""
    yield checkout
    checkout.git("reset", "--quiet", "--hard")
    checkout.git("clean", "--quiet", "--force", "-d")
    checkout.dvc("checkout", "--quiet", "--force")


def test_one_command_makes_scores_from_nothing_without_a_git_identity(checkout):
    assert len(stages_run(checkout.first_run)) == 16
    assert SAMPLE in stages_run(checkout.first_run)
    test = checkout.evaluation()["test"]
    assert test["clips"] == 12
    assert 0 <= test["waf_low"] <= test["waf"] <= test["waf_high"] <= 1
    assert "waf" in checkout.dvc("metrics", "show")
    page = (checkout.folder / "metrics/report.html").read_text()
    assert f'id="score">{test["waf"]:.3f}<' in page and "12 clips" in page


def test_a_second_repro_does_nothing(checkout):
    assert "up to date" in checkout.dvc("repro")
    assert "up to date" in checkout.dvc("status")
    assert not checkout.git("status", "--porcelain")


@pytest.mark.slow
def test_two_runs_from_scratch_are_identical_whatever_the_number_of_workers(
    checkout, tmp_path_factory
):
    other = Checkout(tmp_path_factory.mktemp("other"), ECMF_WORKERS="1")
    other.dvc("repro")
    ours, theirs = checkout.outputs(), other.outputs()
    assert list(ours) == list(theirs)
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert {"data/frames.h5", "data/labels.csv", "metrics/evaluation.json"} <= set(ours)


def test_predict_gives_the_clips_of_the_corpus_the_numbers_of_the_pipeline(clean):
    """Of those not trained on, in another order, and one of them as a file alone."""
    manifest = clean.folder / "data/manifests/sample.csv"
    predicted = read_table(clean.folder / "metrics/predictions.csv")
    expected = {row["clip_id"]: row for row in predicted if row["split"] != "train"}
    header, *lines = manifest.read_text().splitlines(keepends=True)
    rows = {row["clip_id"]: row for row in read_table(manifest)}
    (clean.folder / "mine.csv").write_text(header + "".join(reversed(lines)))
    clean.run("python", "-m", "ecmf", "predict", "mine.csv", "--csv", "new.csv")
    new = {row["clip_id"]: row for row in read_table(clean.folder / "new.csv")}
    assert new.keys() == rows.keys()
    columns = [name for name in predicted[0] if name.startswith(("predicted", "proba", "weight"))]
    for clip_id, row in expected.items():
        assert [new[clip_id][name] for name in columns] == [row[name] for name in columns]
    (alone,) = [row for row in rows.values() if row["split"] == "test" and row["video"]][:1]
    text = ("--transcript", alone["transcript"], "--language", alone["language"])
    clean.run("python", "-m", "ecmf", "predict", alone["video"], *text, "--json", "new.json")
    (record,) = json.loads((clean.folder / "new.json").read_text())
    assert record["predicted"] == new[alone["clip_id"]]["predicted"]
    for name, value in record["outputs"].items():
        assert f"{value:.6f}" == new[alone["clip_id"]][f"probability_{name}"]


def test_a_packed_model_predicts_far_from_the_project_and_a_bad_file_stops_no_other(
    clean, tmp_path
):
    packed = tmp_path / "emotions"
    clean.run("python", "-m", "ecmf", "model", "pack", "models/fusion", str(packed))
    rows = read_table(clean.folder / "data/manifests/sample.csv")
    videos = [row["video"] for row in rows if row["split"] == "unlabelled"]
    away = tmp_path / "away"
    (away / "clips").mkdir(parents=True)
    shutil.copy(clean.folder / videos[0], away / "clips/good.mp4")
    (away / "clips/bad.mp4").write_text("no video")
    code = (
        "import ecmf, sys; assert 'torch' not in sys.modules; model = ecmf.load(sys.argv[1]); "
        "print(model.predict('clips/good.mp4').predicted)"
    )
    here = subprocess.run(
        [sys.executable, "-c", code, str(packed)],
        cwd=away, env=clean.environment, capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    command = [sys.executable, "-m", "ecmf", "predict", "-", "--model", str(packed), "--json", "-"]
    done = subprocess.run(
        command, cwd=away, env=clean.environment, input="clips\n", capture_output=True, text=True
    )
    assert done.returncode == os.EX_DATAERR, done.stderr
    bad, good = json.loads(done.stdout)
    assert "not a media file" in bad["error"]
    assert not bad["predicted"]
    assert good["predicted"] == here
    assert good["absent"]["text/raw"]


@pytest.mark.slow
def test_a_pushed_run_is_pulled_into_a_fresh_clone_where_nothing_runs(clean, tmp_path):
    page = (ROOT / "docs/sharing.md").read_text()
    push, pull, _ = re.findall(r"```console\n(.*?)```", page, re.DOTALL)
    commands = push.replace("/mnt/shared/ecmf", str(tmp_path / "store")).replace("$ ", "")
    clean.environment |= IDENTITY
    clean.run("bash", "-ec", commands)
    clone = copy.copy(clean)
    clone.folder = tmp_path / "clone"
    clone.environment = clean.environment | {"PYTHONPATH": str(clone.folder / "stages")}
    try:
        clean.git("clone", "--quiet", str(clean.folder), str(clone.folder))
    finally:
        clean.git("reset", "--quiet", "--hard", "HEAD~1")
    output = clone.run("bash", "-ec", pull.replace("$ ", ""))
    assert "Data and pipelines are up to date." in output and not stages_run(output)
    assert "waf" in output and not clone.git("status", "--porcelain")
    ours, theirs = clean.outputs(), clone.outputs()
    assert {"data/frames.h5", "data/manifests/sample.csv", "metrics/report.html"} <= set(theirs)
    assert {name: ours[name] for name in theirs} == theirs


def test_another_fusion_trains_and_scores_only_and_the_difference_is_shown(clean):
    output = clean.dvc("exp", "run", "-S", "train_fusion.model=baseline")
    assert stages_run(output) == {"train_fusion", "evaluate_fusion", "write_report"}
    difference = clean.dvc("metrics", "diff")
    assert re.search(r"evaluation\.json\s+test\.waf\s+[\d.]+\s+[\d.]+", difference)


def test_one_encoder_more_encodes_only_that_one(clean):
    new = (
        "++encode_audio.encoders.windows={encoder: librosa, window_seconds: 1.0, hop_seconds: 0.5}"
    )
    output = clean.dvc("exp", "run", "-S", new)
    assert stages_run(output) == {
        "encode_audio@windows", "refine_labels", "audit_labels", "train_fusion",
        "evaluate_fusion", "report_coverage", "write_report",
    }  # fmt: skip
    card = yaml.safe_load((clean.folder / "models/fusion/card.yaml").read_text())
    assert "audio/windows" in [source["name"] for source in card["sources"]]


@pytest.mark.slow
def test_another_view_of_the_text_is_one_experiment_and_is_scored(clean):
    enriched = "encode_text.encoders.enriched"
    output = clean.dvc("exp", "run", "-S", f"{enriched}.view=both", "-S", f"{enriched}.rows=text")
    assert stages_run(output) == {
        "encode_text@enriched", "refine_labels", "audit_labels", "train_fusion",
        "evaluate_fusion", "report_coverage", "write_report",
    }  # fmt: skip
    card = yaml.safe_load((clean.folder / "models/fusion/card.yaml").read_text())
    (text,) = (source for source in card["sources"] if source["name"] == "text/enriched")
    assert text["dim"] == 2 * 384
    assert re.search(r"evaluation\.json\s+test\.waf", clean.dvc("metrics", "diff", "--all"))


@pytest.mark.slow
def test_the_text_command_of_the_readme_trains_on_text_enriched_by_the_server(clean):
    readme = (ROOT / "README.md").read_text()
    (command,) = re.findall(r"^\$ (dvc exp run .*enrich_text\.provider.*)$", readme, re.MULTILINE)
    classes = ("neutral", "angry", "happy", "sad", "worried", "surprise")

    def reply(request):
        sure = classes[len(request.user_message) % len(classes)]
        probabilities = {name: 0.75 if name == sure else 0.05 for name in classes}
        return completion(json.dumps(answer(cues=[f"sounds {sure}"], probabilities=probabilities)))

    before = clean.environment
    try:
        with fake_server(reply) as server:
            clean.environment = before | {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": "none"}
            output = clean.run("bash", "-c", command)
            assert {"enrich_text", "encode_text@enriched", "train_fusion"} <= stages_run(output)
            texts = (clean.folder / "data/text.jsonl").read_text()
            assert texts.count("(sounds ") > 0.9 * len(texts.splitlines())
            assert "text/enriched" in trained_sources(clean)
            # Its probabilities are one more source, without another request.
            requests = len(server.requests)
            source = "-S '++encode_text.encoders.llm={encoder: llm_probabilities}'"
            output = clean.run("bash", "-c", f"{command} {source}")
            assert len(server.requests) == requests
    finally:
        clean.environment = before
    assert "enrich_text" not in stages_run(output)
    assert trained_sources(clean)["text/llm"] == len(classes)


def trained_sources(checkout):
    """Return the width of each source of the trained models, by name."""
    card = yaml.safe_load((checkout.folder / "models/fusion/card.yaml").read_text())
    return {source["name"]: source["dim"] for source in card["sources"]}


@pytest.mark.slow
def test_one_encoder_less_is_no_longer_read(clean):
    output = clean.dvc("exp", "run", "-S", "~encode_frames.encoders.motion")
    assert {"train_fusion", "evaluate_fusion"} <= stages_run(output)
    assert not any(name.startswith("encode") for name in stages_run(output))
    card = yaml.safe_load((clean.folder / "models/fusion/card.yaml").read_text())
    assert not any(source["name"].startswith("frame/") for source in card["sources"])


def test_a_changed_encoder_file_reruns_that_encoder_and_what_follows(clean):
    file = clean.folder / "stages/ecmf/encoders/image/motion.py"
    doubled = (
        "\n\n_call = Encoder.__call__\n"
        "Encoder.__call__ = lambda self, clips: "
        "[Features(2 * f.values, f.times) for f in _call(self, clips)]\n"
    )
    file.write_text(file.read_text() + doubled)
    assert stages_run(clean.dvc("repro")) == {
        "encode_frames@motion", "refine_labels", "audit_labels", "train_fusion",
        "evaluate_fusion", "report_coverage", "write_report",
    }  # fmt: skip


@pytest.mark.slow
def test_another_corpus_runs_through_every_stage(clean):
    """Voices alone: no video, so no frame and no face, and no test split."""
    rng = np.random.default_rng(0)
    raw = clean.folder / "voices"
    for actor in range(1, 5):
        for emotion in (1, 3, 5):
            name = f"03-01-{emotion:02d}-01-01-01-{actor:02d}.wav"
            (raw / f"Actor_{actor:02d}").mkdir(parents=True, exist_ok=True)
            tone = np.sin(np.arange(16_000) * (0.03 + 0.02 * emotion)) * 0.3
            noise = rng.normal(0, 0.01, 16_000)
            soundfile.write(raw / f"Actor_{actor:02d}" / name, tone + noise, 16_000)
    clean.run("python", "-m", "ecmf", "index", "ravdess", "voices")
    output = clean.dvc("exp", "run", "-S", "corpus=ravdess", "-S", "train_fusion.outer_folds=2")
    assert SAMPLE not in stages_run(output)
    assert clean.evaluation("evaluation_details")["protocol"] == "2 test folds by group"
    assert clean.evaluation()["test"]["clips"] == 12
    coverage = json.loads((clean.folder / "metrics/coverage.json").read_text())
    assert coverage["frames"]["empty"] == coverage["faces"]["empty"] == 12
    assert coverage["audio"]["whole"] == 12
    listed = (clean.folder / "metrics/coverage.csv").read_text()
    assert listed.count("frames,03-01-") == 12
    assert "the manifest names no video" in listed


@pytest.mark.slow
def test_a_corpus_of_text_alone_runs_through_every_stage(clean):
    """Dialogues as tables, without any video or audio, and with official splits."""
    said = {"joy": "That is wonderful!", "anger": "Leave me alone!", "neutral": "It is a chair."}
    (clean.folder / "lines").mkdir()
    for name, dialogues in (("train", 4), ("dev", 2), ("test", 3)):
        lines = [
            f"{words} {line},Ann,{emotion},{dialogue},{line}\n"
            for dialogue in range(dialogues)
            for line, (emotion, words) in enumerate(said.items())
        ]
        table = "Utterance,Speaker,Emotion,Dialogue_ID,Utterance_ID\n" + "".join(lines)
        (clean.folder / "lines" / f"{name}_sent_emo.csv").write_text(table)
    clean.run("python", "-m", "ecmf", "index", "meld", "lines")
    context = (
        "-S",
        "enrich_text.context_lines=2",
        "-S",
        "encode_text.encoders.enriched.view=context",
    )
    output = clean.dvc("exp", "run", "-S", "corpus=meld", *context)
    assert SAMPLE not in stages_run(output)
    details = clean.evaluation("evaluation_details")
    assert details["protocol"] == "test split"
    assert (clean.evaluation()["test"]["clips"], details["val"]["clips"]) == (9, 6)
    coverage = json.loads((clean.folder / "metrics/coverage.json").read_text())
    for store in ("frames", "audio", "faces", "frame/motion", "face/gradients", "audio/librosa"):
        assert coverage[store]["empty"] == 27
    assert coverage["text/enriched"]["whole"] == 27
    listed = (clean.folder / "metrics/coverage.csv").read_text()
    assert "frames,train_dia0_utt0,empty,the manifest names no video" in listed
    assert "audio,train_dia0_utt0,empty,the manifest names no audio" in listed


def test_a_queued_experiment_uses_the_code_it_was_queued_with(clean):
    file = clean.folder / "stages/ecmf/metrics.py"
    original = file.read_text()
    file.write_text(original.replace('"clips": len(truth)', '"clips": -len(truth)'))
    clean.dvc("exp", "run", "--queue", "--name", "queued", "-S", "evaluate_fusion.bootstrap=20")
    file.write_text(original)
    clean.dvc("exp", "run", "--run-all")
    assert clean.evaluation()["test"]["clips"] == 12
    clean.dvc("exp", "apply", "queued")
    assert clean.evaluation()["test"]["clips"] == -12
