"""A damaged table of clips is refused, or every line of it is one clip."""

import csv
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from mutants import mutant

from ecmf import registry
from ecmf.data.manifest import Clip, find_errors, read_manifest, write_manifest
from ecmf.errors import UserError

LINES = [
    ["clip_id", "video", "audio", "transcript", "speaker", "split", "label", "valence", "start"],
    *(
        [f"c{i}", f"video/c{i}.mp4", "", ("Well, yes.", 'He said "no"', "好", "")[i % 4],
         f"s{i % 3}", ("train", "val", "test")[i % 3], ("joy", "sad")[i % 2], "0.5", ""]
        for i in range(12)
    ),
]  # fmt: skip

ODD_CELLS = (
    '"', '""', ",", ";", "\n", "\r", "\r\n", "\0", "\ufeff", "nan", "=1+1", "-", "..", "../x", "/x",
    "a" * 150_000, "\u202e", "\x1b[2J", "1e999", "inf", "٣", " c0", "C0", "train ", "é", "e\u0301",
)  # fmt: skip


def as_csv(lines: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().encode()


def raw(lines: Sequence[Sequence[str]]) -> bytes:
    """Join cells without quotes, as a script writes them that knows nothing of csv."""
    return "\n".join(",".join(cells) for cells in lines).encode()


def with_odd_cell(seed: int) -> bytes:
    """Replace, add or remove a cell or a line, and write with or without quotes."""
    rng = np.random.default_rng(seed)
    lines = [list(cells) for cells in LINES]
    odd = ODD_CELLS[rng.integers(len(ODD_CELLS))]
    line = lines[rng.integers(len(lines))]
    place = int(rng.integers(len(line)))
    changes: tuple[Callable[[], object], ...] = (
        lambda: line.__setitem__(place, odd),
        lambda: line.__setitem__(place, odd + line[place]),
        lambda: line.__setitem__(place, line[place] + odd),
        lambda: line.insert(place, odd),
        lambda: line.pop(place),
        lambda: lines.insert(place, list(line)),
        lambda: lines.insert(place, [""] * len(line)),
        lambda: lines.insert(place, [odd]),
    )
    changes[rng.integers(len(changes))]()
    return (as_csv, raw)[rng.integers(2)](lines)


def read_folder(folder: Path, content: bytes) -> list[Clip]:
    """Read a table as `ecmf index folder` does, without the files that it names."""
    (folder / "clips.csv").write_bytes(content)
    clips = list(registry.load("corpora", "folder").Corpus().clips(folder))
    if errors := find_errors(clips, sorted({clip.label for clip in clips if clip.label})):
        raise UserError("\n".join(errors))
    return clips


def check(folder: Path, content: bytes) -> None:
    """Read the table; what is accepted has a clip for every line and survives being written."""
    try:
        clips = read_folder(folder, content)
    except UserError as error:
        assert 0 < len(str(error)) < 200_000
        return
    check_clips(folder, content, clips)


def check_clips(folder: Path, content: bytes, clips: Sequence[Clip]) -> None:
    """Check that no line lies in the text of another one, and that the clips can be written."""
    begun = re.findall(r"^c\d+(?=,)", content.decode("utf-8-sig"), re.MULTILINE)
    assert set(begun) <= {clip.clip_id for clip in clips}
    write_manifest(clips, folder / "again.csv")
    assert read_manifest(folder / "again.csv") == clips


def test_a_table_with_damaged_bytes_is_refused_or_read_whole(tmp_path: Path, seed: int) -> None:
    check(tmp_path, mutant(as_csv(LINES), seed))


def test_a_table_with_an_odd_cell_is_refused_or_read_whole(tmp_path: Path, seed: int) -> None:
    check(tmp_path, with_odd_cell(seed))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return a manifest as `ecmf index` writes it."""
    folder = tmp_path_factory.mktemp("manifest")
    write_manifest(read_folder(folder, as_csv(LINES)), folder / "mine.csv")
    return (folder / "mine.csv").read_bytes()


def test_a_damaged_manifest_is_refused_or_read_whole(
    tmp_path: Path, manifest: bytes, seed: int
) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(mutant(manifest, seed))
    try:
        clips = read_manifest(path)
    except UserError as error:
        assert 0 < len(str(error)) < 200_000
        return
    check_clips(tmp_path, path.read_bytes(), clips)
