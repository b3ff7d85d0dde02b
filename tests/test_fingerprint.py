from pathlib import Path

import pytest

from ecmf import fingerprint

MEMBER = "ecmf.encoders.image.motion"


@pytest.fixture
def code(tmp_path, monkeypatch):
    """Two modules, one of which imports the other, and infrastructure."""
    package = tmp_path / "ecmf"
    package.mkdir()
    files = {
        "member.py": '"""What it is."""\nfrom ecmf import device\nfrom ecmf.base import one\n\n\n'
        'def two():\n    """Say two."""\n    return one() + 1  # why\n',
        "base.py": "def one():\n    return 1\n",
        "device.py": "WHERE = 'cpu'\n",
    }
    for name, text in files.items():
        (package / name).write_text(text)
    monkeypatch.setattr(fingerprint, "STAGES", tmp_path)

    def changed(name, old, new):
        file = package / name
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))
        fingerprint.of.cache_clear()
        return fingerprint.of("ecmf.member")

    yield changed
    fingerprint.of.cache_clear()


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [("member.py", "+ 1", "+ 2"), ("base.py", "return 1", "return 3")],
)
def test_code_that_computes_otherwise_is_other_code(code, name, old, new):
    before = code("member.py", "+ 1", "+ 1")
    assert code(name, old, new) != before
    assert code(name, new, old) == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("member.py", "# why", "# because"),
        ("member.py", "Say two.", "Say two, whatever is asked."),
        ("member.py", "What it is.", "What it was."),
        ("member.py", "one() + 1", "(one()\n        + 1)"),
        ("device.py", "cpu", "cuda"),
    ],
)
def test_words_layout_and_infrastructure_are_not(code, name, old, new):
    before = code("member.py", "+ 1", "+ 1")
    assert code(name, old, new) == before


def test_every_member_has_a_fingerprint_of_its_own():
    of_motion = fingerprint.of(MEMBER)
    assert len(of_motion) == 64
    assert fingerprint.of("ecmf.encoders.image.colour_histogram") != of_motion
    assert fingerprint.of(MEMBER, "ecmf.pictures") != of_motion


def test_what_carries_a_run_is_in_no_encoder():
    file = Path(fingerprint.STAGES / "ecmf/encoders/text/minilm.py")
    names = {
        path.stem
        for path in fingerprint.closure(file, fingerprint.INFRASTRUCTURE | fingerprint.ENGINE)
    }
    assert "network" in names
    assert not names & {"cache", "engine", "batching", "device", "store"}
