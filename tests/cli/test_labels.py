"""Refined labels go back to the labelling tool that a corpus was indexed from."""

import json
from pathlib import Path

import numpy as np
import pytest
from annotations import export, region, task

from ecmf.cli.index import index_corpus
from ecmf.cli.labels import DATA, tools, write_labels
from ecmf.data.label_table import Label, hard_label
from ecmf.data.label_table import write_labels as write_label_table
from ecmf.data.manifest import classes_of, read_manifest
from ecmf.errors import CorpusError, MissingFileError, ParamsError
from ecmf.refinement.base import SourceVotes
from ecmf.refinement.vote_table import VoteTable, write_votes

FOLDER, MANIFEST = Path("data/raw/mine"), Path("data/manifests/mine.csv")


@pytest.fixture
def indexed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Index two labelled clips and one without label; return the project."""
    monkeypatch.chdir(tmp_path)
    FOLDER.mkdir(parents=True)
    for name in ("a.wav", "b.wav", "c.wav"):
        (FOLDER / name).write_bytes(name.encode())
    export(
        FOLDER,
        task({"audio": "a.wav"}, p1=[region("labels", "happy", 0, 1.5)]),
        task({"audio": "b.wav"}, p1=[region("choices", "sad")]),
        task({"audio": "c.wav"}),
    )
    index_corpus("label_studio", FOLDER, "mine")
    return tmp_path


def refine() -> None:
    """Write the tables of `refine_labels`: the first clip is relabelled, on another's vote."""
    clips = read_manifest(MANIFEST)
    classes = classes_of(MANIFEST, clips)
    first, second, _ = (clip.clip_id for clip in clips)
    labels = [
        Label(first, "sad", (0, 1), 1.0, "relabelled", "sad 0.60 against happy 0.40", "llm=sad"),
        hard_label(second, "sad", classes, "kept"),
        hard_label(clips[2].clip_id, "", classes, "unlabelled"),
    ]
    write_label_table(labels, classes, DATA / "labels.csv")
    given = SourceVotes("given", np.array([[1.0, 0], [0, 1]]))
    llm = SourceVotes("llm", np.array([[0.0, 1], [0, 1]]))
    votes = VoteTable([first, second], {"given": given, "llm": llm}, [])
    write_votes(votes, classes, DATA / "votes.csv", DATA / "sources.json")


def test_an_indexed_corpus_gets_its_refined_labels_with_their_doubts(indexed: Path) -> None:
    refine()
    told = write_labels("label_studio", FOLDER, Path("review"), "mine", 1, DATA)
    assert told == "review: refined labels of 2 clips, 1 of them with doubts"
    first, second, third = json.loads(Path("review/export.json").read_text())
    (doubtful,), (sure,) = first["predictions"], second["predictions"]
    assert doubtful["result"][0]["value"]["labels"] == ["sad"]
    assert (doubtful["score"], sure["score"]) == (0.0, 1.0), "votes are split, or all for one"
    (note,) = doubtful["result"][0]["meta"]["text"]
    assert note == "doubt 0.69, relabelled: sad 0.60 against happy 0.40 (llm=sad)"
    assert "meta" not in sure["result"][0]
    assert third["predictions"] == [], "a clip without label has nothing to propose"


def test_what_would_spoil_the_corpus_or_belongs_to_another_is_refused(indexed: Path) -> None:
    with pytest.raises(MissingFileError, match="run `dvc repro refine_labels`"):
        write_labels("label_studio", FOLDER, Path("review"), "mine", 1, DATA)
    refine()
    with pytest.raises(ParamsError, match="would be indexed: choose a folder outside"):
        write_labels("label_studio", FOLDER, FOLDER / "review", "mine", 1, DATA)
    with pytest.raises(ParamsError, match=r"no labelling tool 'elam'.* Did you mean 'elan'"):
        write_labels("elam", FOLDER, Path("review"), "mine", 1, DATA)
    other = Path("other")
    other.mkdir()
    (other / "z.wav").write_bytes(b"z")
    export(other, task({"audio": "z.wav"}, p1=[region("choices", "sad")]))
    with pytest.raises(CorpusError, match="no clip of mine is in the annotations of other"):
        write_labels("label_studio", other, Path("review"), "mine", 1, DATA)


def test_every_labelling_tool_is_found_by_its_file() -> None:
    assert tools() == ["audformat", "elan", "label_studio", "praat"]


def test_a_piece_that_is_added_later_changes_no_other_clip(indexed: Path) -> None:
    before = read_manifest(MANIFEST)
    tasks = json.loads((FOLDER / "export.json").read_text())
    tasks[0]["annotations"][0]["result"].insert(0, region("labels", "sad", 0, 0.5))
    export(FOLDER, *tasks)
    index_corpus("label_studio", FOLDER, "mine")
    after = {clip.clip_id: clip for clip in read_manifest(MANIFEST)}
    assert len(after) == 4
    assert [after[clip.clip_id] for clip in before] == before
