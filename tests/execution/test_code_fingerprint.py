import pytest

from ecmf.execution import code_fingerprint

MEMBER = "ecmf.encoders.image.motion"


@pytest.fixture
def code(tmp_path, monkeypatch):
    """Two modules, one of which imports the other, and infrastructure."""
    package = tmp_path / "ecmf"
    (package / "execution").mkdir(parents=True)
    files = {
        "member.py": '"""What it is."""\nfrom ecmf.execution import device\n'
        "from ecmf.base import one\n\n\n"
        'def two():\n    """Say two."""\n    return one() + 1  # why\n',
        "base.py": "def one():\n    return 1\n",
        "execution/device.py": "WHERE = 'cpu'\n",
    }
    for name, text in files.items():
        (package / name).write_text(text)
    monkeypatch.setattr(code_fingerprint, "STAGES", tmp_path)

    def changed(name, old, new):
        file = package / name
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))
        code_fingerprint.of.cache_clear()
        return code_fingerprint.of("ecmf.member")

    yield changed
    code_fingerprint.of.cache_clear()


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
        ("execution/device.py", "cpu", "cuda"),
    ],
)
def test_words_layout_and_infrastructure_are_not(code, name, old, new):
    before = code("member.py", "+ 1", "+ 1")
    assert code(name, old, new) == before


def test_every_member_has_a_fingerprint_of_its_own():
    of_motion = code_fingerprint.of(MEMBER)
    assert len(of_motion) == 64
    assert code_fingerprint.of("ecmf.encoders.image.colour_histogram") != of_motion
    assert code_fingerprint.of(MEMBER, "ecmf.storage.jpeg") != of_motion


def test_code_that_carries_a_run_is_part_of_no_encoder():
    file = code_fingerprint.STAGES / "ecmf/encoders/text/minilm.py"
    found = code_fingerprint.closure(file, code_fingerprint.CARRIERS)
    names = {path.stem for path in found}
    assert "network" in names
    assert not names & {"result_cache", "engine", "batching", "device", "store"}


def test_a_plugin_that_loads_others_by_name_is_hashed_with_its_whole_family():
    assert code_fingerprint.modules_of("fusion", "concat") == ("ecmf.fusion.concat",)
    assert {"ecmf.fusion.semmim", "ecmf.fusion.ecmf"} <= {
        *code_fingerprint.modules_of("fusion", "semmim")
    }
