import csv
import os
import pickle
import resource
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from ecmf import registry
from ecmf.cli.import_features import import_features
from ecmf.data.features import load_sources
from ecmf.data.manifest import Clip, write_manifest
from ecmf.encoding.precomputed import Encoder, Options
from ecmf.encoding.store_encoder import AUDIO, ConfiguredEncoder, encode
from ecmf.errors import CorpusError, MissingFileError, ParamsError, StoreError
from ecmf.execution.recipe import ClipInput
from ecmf.importing.base import IdMapping
from ecmf.importing.safe_pickle import load_plain
from ecmf.media import Features, Text
from ecmf.params import AudioChoice, Params, load_params
from ecmf.storage.files import sha256
from ecmf.training.model_metadata import ModelMetadata, SourceMetadata

ROOT = Path(__file__).resolve().parents[2]
IMPORT = (sys.executable, "-m", "ecmf", "import")


def manifest_of(folder: Path, *clip_ids: str) -> Path:
    clips = [Clip(clip_id, transcript="yes", label="neutral") for clip_id in clip_ids]
    write_manifest(clips, folder / "mine.csv")
    return folder / "mine.csv"


def tree(folder: Path, encoder: str, **clips: Any) -> Path:
    (folder / "features" / encoder).mkdir(parents=True)
    for clip_id, array in clips.items():
        np.save(folder / "features" / encoder / f"{clip_id}.npy", np.asarray(array))
    return folder / "features"


def pickled(folder: Path, protocol: int = 4, **changes: Any) -> Path:
    content = {
        "train": {
            "id": ["a$_$1", "a$_$2"],
            "raw_text": np.array(["yes", "no"]),
            "audio": np.arange(1, 13, dtype="float32").reshape(2, 3, 2),
            "vision": np.ones((2, 2, 4)),
            "text": np.ones((2, 5, 3), "float32"),
            "text_bert": np.array([[[9] * 5, [1, 1, 0, 0, 0], [0] * 5]] * 2, "float32"),
            "audio_lengths": [3, 1],
            "regression_labels": np.array([0.5, -1.0]),
            "annotations": np.array(["Positive", "Negative"], dtype=object),
            **changes,
        },
        "test": {"id": np.array(["b$_$1"], dtype=object), "audio": np.ones((1, 3, 2))},
    }
    (folder / "unaligned_50.pkl").write_bytes(pickle.dumps(content, protocol))
    return folder / "unaligned_50.pkl"


def look_up(archive: Path, *clip_ids: str) -> list[list[list[float]]]:
    encoder = Encoder(Options(path=str(archive), sha256=sha256(archive)))
    imported: list[Features] = encoder([Text(clip_id, "") for clip_id in clip_ids])
    return [features.values.tolist() for features in imported]


def left_out(folder: Path, encoder: str) -> list[tuple[str, str, str, str]]:
    with (folder / f"{encoder}.left_out.csv").open(newline="") as file:
        return [tuple(row) for row in csv.reader(file)][1:]  # type: ignore[misc]


def test_a_folder_of_vectors_is_imported_and_zeros_become_no_row(tmp_path: Path) -> None:
    path = tree(tmp_path, "hubert-UTT", a=[1, 2], b=[0, 0], c=[], d=[3, 4], z=[5, 6])
    manifest = manifest_of(tmp_path, "a", "b", "c", "d", "e")
    summary = import_features("mertools", path, manifest, tmp_path / "out", {"hubert-UTT": "audio"})
    imported = look_up(tmp_path / "out" / "hubert-UTT.npz", "d", "b", "a")
    assert imported == [[[3, 4]], [], [[1, 2]]]
    assert left_out(tmp_path / "out", "hubert-UTT") == [
        ("absent", "b", "b", "only zeros, or empty"),
        ("absent", "c", "c", "only zeros, or empty"),
        ("missing", "e", "", "no features of this clip"),
        ("unknown", "", "z", "no clip of the manifest"),
    ]
    assert "hubert-UTT: 2 clips, 2 rows of 2 numbers; 2 absent; 1 missing; 1 unknown" in summary


@pytest.mark.parametrize("ending", ["FRA", "FRAME"])
def test_a_folder_of_sequences_keeps_its_rows_in_order(ending: str, tmp_path: Path) -> None:
    rows = {"a": [[1, 2], [3, 4]], "b": [[0, 0], [5, 6]], "c": [[0, 0]], "d": [[7, np.nan], [8, 9]]}
    path = tree(tmp_path, f"clip-{ending}", **rows) / f"clip-{ending}"
    manifest = manifest_of(tmp_path, *rows)
    summary = import_features("mertools", path, manifest, tmp_path, {f"clip-{ending}": "face"})
    imported = look_up(tmp_path / f"clip-{ending}.npz", *rows)
    assert imported == [[[1, 2], [3, 4]], [[5, 6]], [], [[8, 9]]]
    assert "1 absent; 1 partial; 1 rows of zeros left out" in summary
    assert left_out(tmp_path, f"clip-{ending}")[1] == (
        ("partial", "d", "d", "1 rows with NaN or infinity left out")
    )


def test_only_the_chosen_encoders_are_imported_and_the_others_are_listed(tmp_path: Path) -> None:
    tree(tmp_path, "hubert-UTT", a=[1])
    tree(tmp_path, "clip_UTT", a=[2])
    path = tree(tmp_path, "not an encoder", a=[3])
    manifest = manifest_of(tmp_path, "a")
    summary = import_features("mertools", path, manifest, tmp_path / "out", {"clip_UTT": "face"})
    assert "hubert-UTT: not imported" in summary
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "clip_UTT.left_out.csv",
        "clip_UTT.npz",
    ]
    with pytest.raises(ParamsError, match=r"has no 'hubert': .* Did you mean 'hubert-UTT'"):
        import_features("mertools", path, manifest, tmp_path, {"hubert": "audio"})
    with pytest.raises(ParamsError, match="name each encoder to import and its branch"):
        import_features("mertools", path, manifest, tmp_path, {})


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.write_bytes(b"no array"), "is not a plain array of numbers"),
        (lambda path: np.save(path, np.array([{}]), allow_pickle=True), "not a plain array of"),
        (lambda path: np.save(path, np.ones(3)), "is 3 numbers wide, not 2 as the clips before"),
        (lambda path: np.save(path, np.ones((1, 1, 2))), r"has shape \(1, 1, 2\)"),
        (lambda path: np.save(path, np.array(["x", "y"])), "holds <U1, not numbers"),
        (lambda path: np.save(path, [np.inf, 1]), "holds NaN or infinity in every row"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "is not a file"),
    ],
)
def test_a_clip_that_cannot_be_used_is_listed_with_its_reason(
    spoil: Callable[[Path], Any], reason: str, tmp_path: Path
) -> None:
    path = tree(tmp_path, "hubert-UTT", a=[1, 2], b=[3, 4])
    spoil(path / "hubert-UTT" / "b.npy")
    import_features(
        "mertools", path, manifest_of(tmp_path, "a", "b"), tmp_path, {"hubert-UTT": "audio"}
    )
    ((state, clip_id, _, recorded),) = left_out(tmp_path, "hubert-UTT")
    assert (state, clip_id) == ("unusable", "b")
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(recorded)
    assert look_up(tmp_path / "hubert-UTT.npz", "b") == [[]]


def test_the_same_features_make_the_same_bytes(tmp_path: Path) -> None:
    for encoder, rows in {"x-UTT": [1, 2], "x-FRA": [[1, 2], [3, 4]]}.items():
        path = tree(tmp_path, encoder, a=rows) / encoder
        manifest = manifest_of(tmp_path, "a")
        for folder in ("first", "second"):
            import_features("mertools", path, manifest, tmp_path / folder, {encoder: "audio"})
            os.utime(path / "a.npy", (0, 0))
        name = f"{encoder}.npz"
        assert sha256(tmp_path / "first" / name) == sha256(tmp_path / "second" / name)
        with zipfile.ZipFile(tmp_path / "first" / name) as archive:
            assert {entry.date_time[0] for entry in archive.infolist()} == {1980}


def test_ids_without_any_match_are_an_error_with_examples_of_both(tmp_path: Path) -> None:
    path = tree(tmp_path, "hubert-UTT", x1=[1], x2=[2])
    manifest = manifest_of(tmp_path, "a", "b")
    with pytest.raises(CorpusError, match=r"e.g. 'x1', 'x2', those of the manifest e.g. 'a', 'b'"):
        import_features("mertools", path, manifest, tmp_path / "out", {"hubert-UTT": "audio"})
    assert list((tmp_path / "out").iterdir()) == []


def test_features_of_only_zeros_are_an_error_and_write_nothing(tmp_path: Path) -> None:
    path = tree(tmp_path, "hubert-UTT", a=[0, 0])
    manifest = manifest_of(tmp_path, "a")
    with pytest.raises(CorpusError, match="no clip of the manifest has a row: 'a' only zeros"):
        import_features("mertools", path, manifest, tmp_path / "out", {"hubert-UTT": "audio"})
    assert list((tmp_path / "out").iterdir()) == []


def test_foreign_ids_are_mapped_to_those_of_the_manifest(tmp_path: Path) -> None:
    path = tree(tmp_path, "hubert-UTT", **{"Ses01-a": [1], "Ses01-b": [2]})
    branches = {"hubert-UTT": "audio"}
    mapping = IdMapping("Ses01-(.+)", r"\1")
    manifest = manifest_of(tmp_path, "a", "b")
    import_features("mertools", path, manifest, tmp_path, branches, [mapping])  # type: ignore[arg-type]
    assert look_up(tmp_path / "hubert-UTT.npz", "a", "b") == [[[1]], [[2]]]
    with pytest.raises(CorpusError, match="'Ses01-a' and 'Ses01-b' are both clip 'a'"):
        import_features("mertools", path, manifest, tmp_path, branches, [IdMapping("Ses01-.", "a")])  # type: ignore[arg-type]
    with pytest.raises(ParamsError, match="is not a regular expression"):
        import_features(
            "mertools", path, manifest, tmp_path, branches, [IdMapping("Ses01-.", r"\1")]
        )  # type: ignore[arg-type]


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_of_mmsa_is_imported_without_its_padding(protocol: int, tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, "a_1", "a_2", "b$_$1")
    summary = import_features("mmsa", pickled(tmp_path, protocol), manifest, tmp_path / "out", {})
    a1, a2, b1 = look_up(tmp_path / "out" / "unaligned_50-audio.npz", "a_1", "a_2", "b$_$1")
    assert a1 == [[1, 2], [3, 4], [5, 6]]
    assert a2 == [[7, 8]]
    assert len(b1) == 3
    text = look_up(tmp_path / "out" / "unaligned_50-text.npz", "a_1", "b$_$1")
    assert text == [[[1, 1, 1]] * 2, []]
    assert [line for line in summary.splitlines() if "-S" in line][2].startswith(
        "  -S '++encode_faces.encoders.unaligned_50_vision={encoder: imported, path: "
    )


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_of_numpy_1_is_read(protocol: int, tmp_path: Path) -> None:
    rows = np.array([[1.5, 2.5]])
    content = pickle.dumps([rows, rows[0, 0], np.array(["é", "b"]), {"big": 1 << 80}], protocol)
    assert b"numpy._core.multiarray" in content
    old = content.replace(b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray")
    old = old.replace(b"cnumpy._core.multiarray", b"cnumpy.core.multiarray")
    if protocol == 4:  # its frame is shorter by what was taken out of it
        size = len(content) - len(old)
        frame = int.from_bytes(content[3:11], "little") - size
        old = old[:3] + frame.to_bytes(8, "little") + old[11:]
    (tmp_path / "old.pkl").write_bytes(old)
    imported, scalar, words, numbers = load_plain(tmp_path / "old.pkl")
    assert (imported.tolist(), float(scalar)) == ([[1.5, 2.5]], 1.5)
    assert (words.tolist(), numbers) == (["é", "b"], {"big": 1 << 80})


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype="float64").reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype="int16").reshape(2, 3)),
        np.array([1.5, -2], dtype=">f4"),
        np.array([[True, False]]),
        np.array(["video$_$1", "ü"]),
        np.array([b"ab", b"c"]),
        np.array([np.ones(2), "text", None, [1, 2]], dtype=object),
        np.empty((0, 4), "float32"),
    ],
    ids=lambda array: str(array.dtype),
)
def test_a_plain_array_is_read_as_numpy_reads_it(array: Any, protocol: int, tmp_path: Path) -> None:
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(array, protocol))
    imported = load_plain(tmp_path / "plain.pkl")
    assert imported.shape == array.shape
    for value, expected in zip(imported.flat, array.flat, strict=True):
        np.testing.assert_array_equal(np.asarray(value), np.asarray(expected))
    assert imported.dtype.newbyteorder("=") == array.dtype.newbyteorder("=")


class Calls:
    """An object whose pickle calls a function when it is loaded."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> Any:
        return self.reduced


GLOBAL_NDARRAY = b"cnumpy\nndarray\n"
GLOBAL_DTYPE = b"cnumpy\ndtype\n"
RECONSTRUCT = b"cnumpy._core.multiarray\n_reconstruct\n"
FROM_BUFFER = b"cnumpy._core.numeric\n_frombuffer\n"
EMPTY_ARRAY = RECONSTRUCT + b"(" + GLOBAL_NDARRAY + b"K\x00\x85U\x01btR"
F8 = GLOBAL_DTYPE + b"(U\x02f8tR"


def stacked(module: str, name: str) -> bytes:
    """STACK_GLOBAL of protocol 4, called without arguments."""
    words = b"".join(b"\x8c" + bytes([len(w)]) + w.encode() for w in (module, name))
    return b"\x80\x04" + words + b"\x93)R."


HOSTILE = {
    "os.system": (pickle.dumps(Calls(os.system, "touch {mark}")), "names posix.system"),
    "eval": (pickle.dumps(Calls(eval, "open({mark!r}, 'w')")), "names builtins.eval"),
    "getattr": (pickle.dumps(Calls(getattr, "", "join")), "names builtins.getattr"),
    "exec by INST": (b"(S'open({mark!r}, \"w\")'\nibuiltins\nexec\n.", "names builtins.exec"),
    "numpy.load": (stacked("numpy", "load"), "names numpy.load"),
    "numpy runs code": (
        stacked("numpy.testing._private.utils", "runstring"),
        "names numpy.testing",
    ),
    "numpy by a path": (stacked("numpy", "ndarray.__reduce__"), "names numpy.ndarray.__reduce__"),
    "another of a module": (stacked("numpy.core.multiarray", "fromfile"), "names numpy.core.multi"),
    "copyreg": (stacked("copyreg", "_reconstructor"), "names copyreg._reconstructor"),
    "codecs": (stacked("_codecs", "lookup"), "names _codecs.lookup"),
    "extension": (b"\x82\x01.", "unregistered extension code"),
    "persistent id": (b"Pmine\n.", "refers to an object outside"),
    "persistent id of the stack": (b"U\x01xQ.", "refers to an object outside"),
    "calls ndarray": (GLOBAL_NDARRAY + b"(K\x02tR.", "calls a class of numpy"),
    "new object": (b"\x80\x02" + GLOBAL_NDARRAY + b")\x81.", "NEWOBJ class argument"),
    "subclass": (RECONSTRUCT + b"(" + GLOBAL_DTYPE + b"K\x00\x85U\x01btR.", "otherwise than numpy"),
    "big array": (
        RECONSTRUCT + b"(" + GLOBAL_NDARRAY + b"J\xff\xff\xff\x7f\x85U\x01btR.",
        "otherwise than numpy",
    ),
    "records": (pickle.dumps(np.zeros(1, [("x", "f8")])), r"array of 'V8', not of numbers or text"),
    "objects out of bytes": (
        FROM_BUFFER + b"(C\x08AAAAAAAA" + GLOBAL_DTYPE + b"(U\x02O8tRK\x01\x85U\x01CtR.",
        "fills an array from bytes",
    ),
    "array over an array": (
        FROM_BUFFER
        + b"("
        + RECONSTRUCT
        + b"("
        + GLOBAL_NDARRAY
        + b"K\x00\x85U\x01btR"
        + F8
        + b"K\x01\x85U\x01CtR.",
        "fills an array from _Array",
    ),
    "more than there is": (FROM_BUFFER + b"(C\x08AAAAAAAA" + F8 + b"K\x09\x85U\x01CtR.", "reshape"),
    "a short list": (
        EMPTY_ARRAY + b"(K\x01K\x3a\x85" + GLOBAL_DTYPE + b"(U\x02O8tR\x89]Natb.",
        r"fills an array \(58,\) from 1 entries",
    ),
    "short bytes": (
        EMPTY_ARRAY + b"(K\x01K\x09\x85" + F8 + b"\x89C\x08AAAAAAAAtb.",
        r"fills an array \(9,\) from 8 entries",
    ),
    "lengths below nothing": (
        EMPTY_ARRAY
        + b"(K\x01J\xff\xff\xff\xffJ\xff\xff\xff\xff\x86"
        + F8
        + b"\x89C\x08AAAAAAAAtb.",
        r"fills an array \(-1, -1\) from 8 entries",
    ),
    "no shape": (EMPTY_ARRAY + b"(K\x01K\x01" + F8 + b"\x89C\x08AAAAAAAAtb.", "without a shape"),
    "filled twice": (
        EMPTY_ARRAY
        + b"(K\x01K\x01\x85"
        + F8
        + b"\x89C\x08AAAAAAAAtb"
        + b"(K\x01K\x01\x85"
        + F8
        + b"\x89C\x08AAAAAAAAtb.",
        "fills an array from bytes",
    ),
    "no type": (FROM_BUFFER + b"(C\x08AAAAAAAAU\x02f8K\x01\x85U\x01CtR.", "takes str for the type"),
    "changes a stand-in": (
        GLOBAL_DTYPE + b"N}U\x05_make" + GLOBAL_NDARRAY + b"s\x86b.",
        "changes a permitted name",
    ),
    "fills a stand-in": (GLOBAL_DTYPE + b"}U\x05_make" + GLOBAL_NDARRAY + b"sb.", "__dict__"),
    "codec": (b"c_codecs\nencode\n(U\x01xU\x05rot13tR.", "writes bytes otherwise"),
    "cut off": (pickle.dumps(np.ones(9))[:-20], "not a pickle of plain data"),
    "empty": (b"", "not a pickle of plain data: Ran out of input"),
    "no pickle": (b"PK\x03\x04", "not a pickle of plain data"),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_no_code_in_a_hostile_pickle_is_run(
    content: tuple[bytes, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spell, message = content
    Path("hostile.pkl").write_bytes(
        spell.replace(b"{mark}", b"mark00").replace(b"{mark!r}", b"'m00000'")
    )
    with pytest.raises(CorpusError, match=message):
        load_plain(Path("hostile.pkl"))
    assert list(Path().iterdir()) == [Path("hostile.pkl")]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02Kxr" + (1 << 27).to_bytes(4, "little") + b".",
        b"\x8e" + bytes([0, 0, 0, 0, 9, 0, 0, 0]),
    ],
    ids=["a place far away", "bytes that are not there"],
)
def test_a_small_pickle_cannot_take_much_memory(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bomb.pkl").write_bytes(content)
    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(CorpusError, match="not a pickle of plain data: MemoryError"):
        load_plain(tmp_path / "bomb.pkl")
    assert resource.getrlimit(resource.RLIMIT_AS) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": ["a$_$1"]}, r"train: text has 2 entries, but there are 1 ids"),
        ({"id": ["a$_$1", 7]}, "train: id 1 is 7, not text"),
        ({"id": 7}, "train: id is a int, not an array or a list"),
        ({"id": ["a$_$1", "a$_$1"]}, r"'a\$_\$1' and 'a\$_\$1' are both clip 'a_1'"),
        ({"audio_lengths": [1]}, "audio_lengths has 1 entries, but there are 2 ids"),
        ({"audio_lengths": [1, -1]}, "audio_lengths has -1, not 0 or more"),
        ({"audio_lengths": [1, "x"]}, "audio_lengths are not whole numbers"),
    ],
)
def test_a_pickle_that_contradicts_itself_is_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    manifest = manifest_of(tmp_path, "a_1", "a_2", "b_1")
    with pytest.raises(CorpusError, match=message):
        import_features("mmsa", pickled(tmp_path, **changes), manifest, tmp_path / "out", {})


@pytest.mark.parametrize("lengths", [[2, 2], None])
def test_clips_padded_in_front_are_not_cut_behind(lengths: Any, tmp_path: Path) -> None:
    audio = np.array([[[1, 1], [2, 2], [0, 0]], [[0, 0], [3, 3], [4, 4]]])
    path = pickled(tmp_path, audio=audio, audio_lengths=lengths)
    import_features("mmsa", path, manifest_of(tmp_path, "a_1", "a_2"), tmp_path, {})
    imported = look_up(tmp_path / "unaligned_50-audio.npz", "a_1", "a_2")
    assert imported == [[[1, 1], [2, 2]], [[3, 3], [4, 4]]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "holds a list, not a dict of splits"),
        ({"id": ["x"]}, "has no split with ids, but 'id': is it a file of MMSA"),
        ({"train": {"id": ["x"]}}, "has none of text, audio, vision in any split"),
    ],
)
def test_an_error_names_the_content_of_another_pickle(
    content: Any, message: str, tmp_path: Path
) -> None:
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(CorpusError, match=message):
        import_features("mmsa", tmp_path / "x.pkl", manifest_of(tmp_path, "x"), tmp_path, {})


@pytest.mark.parametrize("name", [*registry.names("feature_formats"), registry.EXAMPLE])
def test_every_format_names_the_missing_path(name: str, tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, "a")
    with pytest.raises(MissingFileError, match="nowhere"):
        import_features(name, tmp_path / "nowhere", manifest, tmp_path, {})


def test_a_folder_without_encoders_is_an_error_that_names_its_content(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no folder named <encoder>-UTT .* but 'mine.csv'"):
        import_features("mertools", tmp_path, manifest_of(tmp_path, "a"), tmp_path, {})


def in_store(features: Path, archive: Path, clip_ids: Iterable[str]) -> Any:
    """Encode as the stage does, and load as training does."""
    choice = AudioChoice.model_validate(
        {"encoder": "imported", "path": str(archive), "sha256": sha256(archive)}
    )
    inputs = [ClipInput(clip_id, "", lambda: None) for clip_id in clip_ids]
    encode("audio/mine", ConfiguredEncoder(AUDIO, choice), [inputs], features, 0.0)
    (source,) = load_sources({"audio/mine": features}, list(clip_ids))
    return source


def test_a_model_refuses_the_features_of_another_imported_encoder_by_its_name(
    tmp_path: Path,
) -> None:
    archives = {}
    for encoder in ("chinese-hubert-large-UTT", "wavlm-base-UTT"):
        path = tree(tmp_path, encoder, a=[1, 2], b=[3, 4]) / encoder
        manifest = manifest_of(tmp_path, "a", "b")
        import_features("mertools", path, manifest, tmp_path, {encoder: "audio"})
        # under one name in params.yaml and one file name: only the file itself tells them apart
        archives[encoder] = tmp_path / encoder.replace("-", "") / "mine.npz"
        archives[encoder].parent.mkdir()
        (tmp_path / f"{encoder}.npz").rename(archives[encoder])
    hubert, wavlm = (
        in_store(archive.with_suffix(".h5"), archive, "ab") for archive in archives.values()
    )
    params = load_params(ROOT / "params.yaml")
    card = ModelMetadata(
        corpus="mine",
        outputs=["neutral"],
        preparation=params.preparation,
        voice_thresholds={},
        training=params.train_fusion,
        sources=[SourceMetadata(name=hubert.name, dim=2, provenance=dict(hubert.provenance))],
        members=[],
    )
    card.check_sources([hubert])
    with pytest.raises(
        StoreError,
        match="features audio/mine with encoder 'chinese-hubert-large-UTT', these have 'wavlm-base",
    ):
        card.check_sources([wavlm])


def test_dvc_accepts_the_printed_parameters(tmp_path: Path) -> None:
    path = tree(tmp_path, "clip-vit-large.UTT-FRA", a=[[1, 2]])
    folder = tmp_path / "a folder, with {signs}"
    command = [*IMPORT, "mertools", str(path), str(manifest_of(tmp_path, "a"))]
    run = subprocess.run(
        [*command, str(folder), "--take", "face=clip-vit-large.UTT-FRA"],
        capture_output=True,
        text=True,
        check=True,
    )
    line = run.stdout[run.stdout.index("dvc exp run") :]
    printed = subprocess.run(
        ["bash", "-c", f"dvc() {{ printf '%s\\n' \"${{@:4}}\"; }}; {line}"],
        capture_output=True,
        text=True,
        check=True,
    )
    (override,) = printed.stdout.splitlines()
    params = tmp_path / "params.yaml"
    params.write_text((ROOT / "params.yaml").read_text())
    apply_overrides(params, [override])
    changed = Params.model_validate(yaml.safe_load(params.read_text()))
    options = changed.encode_faces.encoders["clip_vit_large_utt_fra"].options
    assert look_up(Path(options["path"]), "a") == [[[1, 2]]]
    assert options["sha256"] == sha256(Path(options["path"]))


def test_two_encoders_with_one_name_are_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    manifest = manifest_of(tmp_path, "a")
    for encoder in ("clip-L-UTT", "CLIP_l-UTT"):
        path = tree(tmp_path, encoder, a=np.ones(3))
    out = tmp_path / "out"
    with pytest.raises(
        ParamsError,
        match=r"'CLIP_l-UTT' and 'clip-L-UTT' would both be encoder 'clip_l_utt' of .* face",
    ):
        import_features(
            "mertools", path, manifest, out, {"CLIP_l-UTT": "face", "clip-L-UTT": "face"}
        )
    assert not out.exists()
    summary = import_features(
        "mertools", path, manifest, out, {"clip-L-UTT": "face", "CLIP_l-UTT": "frame"}
    )
    assert (
        "encode_faces.encoders.clip_l_utt=" in summary
        and "encode_frames.encoders.clip_l_utt=" in summary
    )


def test_a_mistake_on_the_command_line_is_one_message(tmp_path: Path) -> None:
    arguments = [*IMPORT, "mertool", "x", "y", "z", "--take", "audio=x"]
    run = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr.startswith("error: no 'mertool' in feature_formats: choose one of mertools,")
    run = subprocess.run(
        [*arguments, "--take", "voice=y"], capture_output=True, text=True, check=False
    )
    assert run.stderr.startswith("error: --take 'voice=y': write <branch>=<encoder>, with a branch")


def test_the_example_reads_a_table_per_clip(tmp_path: Path) -> None:
    folder = tmp_path / "openface"
    folder.mkdir()
    (folder / "a.csv").write_text("AU01,AU02\n0.5,1\n2,3\n")
    (folder / "b.csv").write_text("AU01,AU02\nno,1\n")
    manifest = manifest_of(tmp_path, "a", "b")
    import_features("example", folder, manifest, tmp_path / "out", {"openface": "face"})
    assert look_up(tmp_path / "out" / "openface.npz", "a", "b") == [[[0.5, 1], [2, 3]], []]
    (row,) = left_out(tmp_path / "out", "openface")
    assert "b" in row and "is not a table of numbers" in row[-1]
