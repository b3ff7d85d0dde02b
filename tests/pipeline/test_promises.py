"""The table of promises, `tests/README.md`, names what there is."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "tests/README.md").read_text()


def test_every_file_it_names_is_there() -> None:
    rows = [line.split(" | ") for line in TEXT.splitlines() if line.startswith("| ")][1:]
    assert rows
    for promise, tests, *_ in rows:
        files = [ROOT / "tests" / name for name in re.findall(r"`([\w/]+\.py)`", tests)]
        files += [ROOT / name for name in re.findall(r"`python ([\w/]+\.py)`", tests)]
        assert files, promise
        assert [str(file) for file in files if not file.is_file()] == []


def test_every_fuzz_test_is_in_it() -> None:
    for path in (ROOT / "tests/fuzz").glob("test_*.py"):
        assert f"`fuzz/{path.name}`" in TEXT


def test_every_make_target_it_names_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"make ([a-z]+(?:-[a-z]+)?)", TEXT))
    assert {"test", "fuzz", "licences"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
