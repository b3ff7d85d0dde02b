import pytest

from ecmf.execution import code_fingerprint

PLUGIN = "ecmf.encoders.image.motion"


@pytest.fixture
def code(tmp_path, monkeypatch):
    """Two modules, one of which imports the other, and infrastructure."""
    package = tmp_path / "ecmf"
    (package / "execution").mkdir(parents=True)
    files = {
        "plugin.py": '"""A plugin."""\nfrom ecmf.execution import device\n'
        "from ecmf.base import one\n\n"
        'NEEDS = "a file"\n'
        'OPTION = Field(1, description="The first option.")\n\n\n'
        'def two():\n    """Return two."""\n    return one() + 1  # why\n',
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
        code_fingerprint.hash_modules.cache_clear()
        return code_fingerprint.hash_modules("ecmf.plugin")

    yield changed
    code_fingerprint.hash_modules.cache_clear()


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [("plugin.py", "+ 1", "+ 2"), ("base.py", "return 1", "return 3")],
)
def test_code_that_computes_something_else_has_another_hash(code, name, old, new):
    before = code("plugin.py", "+ 1", "+ 1")
    assert code(name, old, new) != before
    assert code(name, new, old) == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("plugin.py", "# why", "# because"),
        ("plugin.py", "Return two.", "Return the number two."),
        ("plugin.py", "A plugin.", "A module."),
        ("plugin.py", "The first option.", "An option."),
        ("plugin.py", "a file", "a folder"),
        ("plugin.py", "one() + 1", "(one()\n        + 1)"),
        ("execution/device.py", "cpu", "cuda"),
    ],
)
def test_comments_formatting_and_infrastructure_do_not_count(code, name, old, new):
    before = code("plugin.py", "+ 1", "+ 1")
    assert code(name, old, new) == before


def test_every_plugin_has_a_hash_of_its_own():
    motion = code_fingerprint.hash_modules(PLUGIN)
    assert len(motion) == 64
    assert code_fingerprint.hash_modules("ecmf.encoders.image.colour_histogram") != motion
    assert code_fingerprint.hash_modules(PLUGIN, "ecmf.storage.jpeg") != motion


def test_code_that_runs_an_encoder_is_not_part_of_its_hash():
    file = code_fingerprint.STAGES / "ecmf/encoders/text/minilm.py"
    files = code_fingerprint.import_closure(file, code_fingerprint.CARRIERS)
    names = {path.stem for path in files}
    assert "network" in names
    assert not names & {"result_cache", "engine", "batching", "device", "store"}


def test_a_plugin_that_loads_others_by_name_is_hashed_with_its_whole_family():
    assert code_fingerprint.plugin_modules("fusion", "concat") == ("ecmf.fusion.concat",)
    assert {"ecmf.fusion.semmim", "ecmf.fusion.ecmf"} <= {
        *code_fingerprint.plugin_modules("fusion", "semmim")
    }
