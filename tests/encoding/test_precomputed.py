from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ecmf import registry
from ecmf.encoding.feature_archive import FeatureArchive, write_archive
from ecmf.encoding.precomputed import Encoder
from ecmf.errors import CorpusError, MissingFileError, ParamsError, UserError
from ecmf.media import Features, Text
from ecmf.storage.files import sha256


def imported(path: Path, **options: Any) -> Encoder:
    values = {"path": str(path), "sha256": sha256(path), **options}
    encoder: Encoder = registry.build("encoders.text", "Encoder", "imported", values)
    return encoder


def look_up(encoder: Encoder, *clip_ids: str) -> list[Features]:
    return encoder([Text(clip_id, "") for clip_id in clip_ids])


def csv_file(folder: Path, *lines: str) -> Path:
    path = folder / "features.csv"
    path.write_text("\n".join(["clip_id,smile,frown", *lines, ""]))
    return path


def npz_file(folder: Path, **arrays: NDArray[Any]) -> Path:
    np.savez(folder / "features.npz", allow_pickle=True, **arrays)
    return folder / "features.npz"


def npy_folder(folder: Path, **arrays: NDArray[Any]) -> Path:
    (folder / "features").mkdir()
    for clip_id, array in arrays.items():
        np.save(folder / "features" / f"{clip_id}.npy", array)
    return folder / "features"


@pytest.mark.parametrize("branch", ["image", "audio", "text"])
def test_every_branch_has_it_and_looks_up_empty_clips_too(branch: str, tmp_path: Path) -> None:
    path = csv_file(tmp_path, "a,1,2")
    options = {"path": str(path), "sha256": sha256(path)}
    encoder = registry.build(f"encoders.{branch}", "Encoder", "imported", options)
    assert not encoder.reads_media


def test_a_csv_file_gives_one_row_at_time_0_and_the_names_of_its_columns(tmp_path: Path) -> None:
    encoder = imported(csv_file(tmp_path, "a,1,2", "b,3,4.5"))
    (b, a) = look_up(encoder, "b", "a")
    assert (a.values.tolist(), b.values.tolist()) == ([[1, 2]], [[3, 4.5]])
    assert a.values.dtype == np.float32
    assert a.times.tolist() == [0]
    assert encoder.dim == 2
    assert encoder.provenance["columns"] == ["smile", "frown"]


def test_the_column_of_ids_and_the_columns_to_read_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("name,video,sex,smile,frown\nx,a,female,1,2\n")
    encoder = imported(path, clip_id="video", columns=("frown", "smile"))
    assert look_up(encoder, "a")[0].values.tolist() == [[2, 1]]
    with pytest.raises(CorpusError, match=r"line 2: name is 'x', not a finite number.*`columns`"):
        imported(path, clip_id="video")


@pytest.mark.parametrize("make", [npz_file, npy_folder])
def test_a_clip_may_have_one_row_or_many(make: Any, tmp_path: Path) -> None:
    arrays = {"a": np.arange(3), "b": np.arange(6.0).reshape(2, 3)}
    a, b = look_up(imported(make(tmp_path, **arrays)), "a", "b")
    assert (a.values.tolist(), a.times.tolist()) == ([[0, 1, 2]], [0])
    assert (b.values.tolist(), b.times.tolist()) == ([[0, 1, 2], [3, 4, 5]], [0, 1])


def test_an_npz_file_may_hold_ids_and_values(tmp_path: Path) -> None:
    arrays = {"clip_ids": np.array(["a", "b"]), "values": np.eye(2)}
    assert look_up(imported(npz_file(tmp_path, **arrays)), "b")[0].values.tolist() == [[0, 1]]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_file_may_hold_ids_and_the_rows_of_all_clips(save: Any, tmp_path: Path) -> None:
    ragged = {
        "clip_ids": np.array(["a", "b", "c"]),
        "values": np.arange(8.0).reshape(4, 2),
        "starts": np.array([0, 1, 1, 4]),
    }
    save(tmp_path / "features.npz", **ragged)
    a, b, c = look_up(imported(tmp_path / "features.npz"), "a", "b", "c")
    assert a.values.tolist() == [[0, 1]]
    assert b.values.shape == (0, 2)
    assert (c.values.tolist(), c.times.tolist()) == ([[2, 3], [4, 5], [6, 7]], [0, 1, 2])


def test_rows_of_a_written_archive_are_read_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    rows = {"ü": np.float32([[1, 2], [3, 4]]), "b": np.float32([[5, 6]])}
    write_archive(path, "wavlm-base", rows.items())
    with np.load(path) as arrays:  # it is an npz file like any other
        assert arrays["values"].tolist() == [[1, 2], [3, 4], [5, 6]]
    archive = FeatureArchive(path)
    assert isinstance(archive["b"], np.memmap)
    assert {clip_id: archive[clip_id].tolist() for clip_id in archive} == {
        clip_id: values.tolist() for clip_id, values in rows.items()
    }


def test_the_provenance_names_the_encoder_by_the_file_or_its_name(tmp_path: Path) -> None:
    write_archive(tmp_path / "mine.npz", "wavlm-base", [("a", np.ones((1, 2), "float32"))])
    assert imported(tmp_path / "mine.npz").provenance["encoder"] == "wavlm-base"
    assert imported(csv_file(tmp_path, "a,1,2")).provenance["encoder"] == "features"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"starts": np.array([0, 2])},
            r"is int64 \(2,\), not 3 integers for 2 clip_ids",
        ),
        ({"starts": np.array([0.0, 1, 2])}, r"starts is float64 \(3,\), not 3 integers"),
        ({"starts": np.array([0, 3, 2])}, "starts does not rise from 0 to the 2 rows"),
        ({"starts": np.array([0, 1, 3])}, "starts does not rise from 0 to the 2 rows"),
        ({"starts": np.array([-1, 1, 2])}, "starts does not rise from 0 to the 2 rows"),
        ({"values": np.array([{}, {}])}, "is not an npz file of plain arrays"),
        ({"values": np.ones(2)}, r"values has shape \(2,\), not \(rows, dim\)"),
    ],
)
def test_an_archive_that_contradicts_itself_is_refused(
    arrays: dict[str, NDArray[Any]], message: str, tmp_path: Path
) -> None:
    contents = {"clip_ids": np.array(["a", "b"]), "values": np.eye(2), **arrays}
    with pytest.raises(CorpusError, match=message):
        imported(npz_file(tmp_path, **contents))


def test_a_clip_that_is_not_in_the_file_has_no_row(tmp_path: Path) -> None:
    (absent,) = look_up(imported(csv_file(tmp_path, "a,1,2")), "z")
    assert absent.values.shape == (0, 2)
    assert absent.times.shape == (0,)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a,1,2", "a,3,4"], "features.csv, line 3: clip 'a' occurs twice"),
        (["a,1,high"], "features.csv, line 2: frown is 'high', not a finite number"),
        (["a,1,2", "b,nan,2"], "features.csv, line 3: smile is 'nan', not a finite number"),
        (["a,1,"], "features.csv, line 2: frown is '', not a finite number"),
        (["a,1"], "features.csv, line 2: 2 cells, but 3 columns"),
        ([], "features.csv has no clip"),
    ],
)
def test_a_faulty_csv_file_is_refused_with_its_line(
    lines: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(CorpusError, match=message):
        imported(csv_file(tmp_path, *lines))


@pytest.mark.parametrize("make", [npz_file, npy_folder])
@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones(4), r"clip 'b' has shape \(4,\), not \(3,\)"),
        (np.ones((1, 2, 3)), r"clip 'b' has shape \(1, 2, 3\)"),
        (np.array([1, np.nan, 3]), "clip 'b' has NaN or infinity"),
        (np.array([1, 1e300, 3]), "clip 'b' has NaN or infinity"),
        (np.array(["x", "y", "z"]), "clip 'b' has dtype <U1, not numbers"),
        (np.array([{}, {}, {}]), "clip 'b' is not a plain array of numbers"),
        (np.float64(1), r"clip 'b' has shape \(\)"),
    ],
)
def test_a_faulty_array_is_refused_with_its_clip(
    make: Any, array: NDArray[Any], message: str, tmp_path: Path
) -> None:
    path = make(tmp_path, a=np.ones(3), b=array)
    with pytest.raises(CorpusError, match=message):
        look_up(imported(path), "a", "b")


def test_ids_and_values_that_do_not_agree_are_refused(tmp_path: Path) -> None:
    duplicate = npz_file(tmp_path, clip_ids=np.array(["a", "a"]), values=np.eye(2))
    with pytest.raises(CorpusError, match="clip 'a' occurs twice in clip_ids"):
        imported(duplicate)
    short = npz_file(tmp_path, clip_ids=np.array(["a"]), values=np.eye(2))
    with pytest.raises(CorpusError, match="1 clip_ids, but 2 values"):
        imported(short)


def test_a_missing_column_is_reported_with_a_suggestion(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "a,1,2")
    with pytest.raises(ParamsError, match=r"no column 'smlie'\. Did you mean 'smile'"):
        imported(path, columns=("smlie",))


def test_only_files_of_a_known_kind_are_read(tmp_path: Path) -> None:
    (tmp_path / "features.pkl").write_bytes(b"")
    with pytest.raises(ParamsError, match=r"neither a \.csv or \.npz file nor a folder"):
        imported(tmp_path / "features.pkl")
    (tmp_path / "features.npz").write_bytes(b"no archive")
    with pytest.raises(UserError, match="is not an npz file of plain arrays"):
        imported(tmp_path / "features.npz")


def test_content_other_than_that_of_the_parameters_is_refused(tmp_path: Path) -> None:
    folder = npy_folder(tmp_path, a=np.ones(3))
    before = sha256(folder)
    np.save(folder / "b.npy", np.ones(3))
    assert sha256(folder) != before
    with pytest.raises(MissingFileError, match=f"set sha256: {sha256(folder)}"):
        imported(folder, sha256=before)
    (folder / "b.npy").unlink()
    assert sha256(folder) == before
    (folder / "a.npy").rename(folder / "c.npy")
    assert sha256(folder) != before


def test_the_action_units_of_a_real_corpus_can_be_imported(shared: Path) -> None:
    encoder = imported(shared / "data" / "ravdess_au" / "ravdess_action_units.csv")
    assert encoder.dim == 35
    assert encoder.provenance["columns"][:2] == ["AU01_r", "AU02_r"]
    clips = [path.stem for path in (shared / "data" / "ravdess").rglob("*.flac")]
    found = [features for features in look_up(encoder, *clips) if len(features.values)]
    assert (len(clips), len(found)) == (960, 958)
