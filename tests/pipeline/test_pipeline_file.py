"""dvc.yaml is code: one name runs through stage, script, function and section."""

import re
from pathlib import Path

import pytest
import yaml

from ecmf import registry
from ecmf.execution import code_fingerprint
from ecmf.params import Params

ROOT = Path(__file__).resolve().parents[2]
FILES = ("data/sample/dvc.yaml", "dvc.yaml")
"""In the order they run."""
MAIN = yaml.safe_load((ROOT / "dvc.yaml").read_text())
PIPELINE = {
    name: stage
    for file in FILES
    for name, stage in yaml.safe_load((ROOT / file).read_text())["stages"].items()
}
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
BODIES = {name: stage.get("do", stage) for name, stage in PIPELINE.items()}


def outputs(stage):
    listed = [*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])]
    return [path for entry in listed for path in ([entry] if isinstance(entry, str) else entry)]


def test_the_sample_is_made_by_a_pipeline_of_its_own_in_the_project_s_root():
    """So that `dvc repro` makes it only if the corpus is `sample`."""
    (made,) = yaml.safe_load((ROOT / "data/sample/dvc.yaml").read_text())["stages"].values()
    assert made["wdir"] == "../.."
    assert "make_sample" not in MAIN["stages"]
    folders = [Path(dep) for dep in made["deps"]]
    # Its lock would be a dependency, and change with each run.
    assert Path("data/sample") not in folders


def closure(path):
    return {str(file.relative_to(ROOT)) for file in code_fingerprint.import_closure(path)}


def families(stage):
    """Families a stage loads plugins of by name: the chosen one by stages/ecmf/<family>/${…}.py in
    its dependencies, or any of a folder: fusion models of an ensemble, the corpus of a manifest.
    """
    for dep in stage["deps"]:
        if match := re.fullmatch(r"stages/ecmf/(?:(.+)/\$\{.+\}\.py|(fusion|tasks|corpora))", dep):
            yield (match[1] or match[2]).replace("/", ".")


@pytest.mark.parametrize("name", BODIES)
def test_one_name_runs_through(name):
    stage = BODIES[name]
    assert stage["cmd"].startswith(f"python stages/{name}.py ")
    assert f"stages/{name}.py" in stage["deps"]
    assert stage["desc"]
    script = (ROOT / f"stages/{name}.py").read_text()
    assert f"stage.main({name})" in script or f"stage.main({name}, " in script
    for key in stage.get("params", []):
        assert key.split(".")[0] in Params.model_fields


@pytest.mark.parametrize("name", BODIES)
def test_every_path_of_the_command_is_declared(name):
    stage = BODIES[name]
    paths = [word for word in stage["cmd"].split()[2:] if "/" in word]
    assert set(paths) <= {*stage["deps"], *outputs(stage)}
    assert set(outputs(stage)) <= set(paths)


@pytest.mark.parametrize("name", BODIES)
def test_every_module_that_can_change_a_result_is_a_dependency(name):
    stage = BODIES[name]
    needed = {f"stages/{name}.py", *closure(ROOT / f"stages/{name}.py")}
    for family in families(stage):
        folder = ROOT / "stages/ecmf" / family.replace(".", "/")
        for member in registry.names(family):
            needed |= closure(folder / f"{member}.py")
        if f"stages/ecmf/{family}" in stage["deps"]:
            needed |= {f"stages/ecmf/{family}/{member}.py" for member in registry.names(family)}
    declared = [dep for dep in stage["deps"] if dep.startswith("stages/") and "$" not in dep]
    for module in needed:
        assert any(dep == module or module.startswith(f"{dep}/") for dep in declared), module
    for dep in declared:
        used = any(module == dep or module.startswith(f"{dep}/") for module in needed)
        assert used, f"{dep} decides nothing in {name}"


@pytest.mark.parametrize("name", ["refine_labels", "train_fusion", "evaluate_fusion"])
def test_a_stage_that_runs_a_fusion_model_depends_on_all_for_one_may_load_another(name):
    assert "stages/ecmf/fusion" in BODIES[name]["deps"]


def test_the_file_is_kept_short_by_depending_on_folders():
    assert len((ROOT / "dvc.yaml").read_text().splitlines()) <= 23 * len(MAIN["stages"])


def test_every_script_is_a_stage_and_every_stage_has_its_script():
    scripts = {path.stem for path in (ROOT / "stages").glob("*.py")}
    assert scripts == set(PIPELINE), "add the stage to dvc.yaml, or its script to stages/"


def test_the_file_reads_in_the_order_it_runs():
    made = set()
    for stage in BODIES.values():
        for dep in stage["deps"]:
            if dep.startswith(("data/", "models/", "metrics/")) and "${corpus}" not in dep:
                assert any(out == dep or out.startswith(f"{dep}/") for out in made), dep
        made.update(outputs(stage))


def test_every_section_of_the_parameters_is_a_stage():
    assert set(Params.model_fields) - {"corpus"} <= set(BODIES)
    assert list(PARAMS) == list(Params.model_fields)


def test_the_parameters_begin_with_what_an_experiment_changes_and_end_with_the_sample():
    order = list(PARAMS)
    assert order[0] == "corpus"
    assert order[-3:] == ["decode_video", "crop_faces", "make_sample"]
    assert order.index("encode_text") < order.index("refine_labels") < order.index("train_fusion")


def test_the_table_of_experiments_has_at_most_160_columns():
    """`dvc exp show` has a column per metric, parameter and path of a dependency."""

    def leaves(node):
        return sum(map(leaves, node.values())) if isinstance(node, dict) else 1

    paths = {dep.replace("${item", f"${{{name}") for name, stage in BODIES.items()
             for dep in stage["deps"]}  # fmt: skip
    about_the_experiment, scores, classes = 5, 8, 6
    assert about_the_experiment + scores + classes + leaves(PARAMS) + len(paths) <= 160


@pytest.mark.parametrize("branch", ["frames", "faces", "audio", "text"])
def test_the_fusion_is_trained_again_when_a_table_of_encoders_changes(branch):
    for name in ("refine_labels", "train_fusion", "evaluate_fusion", "report_coverage"):
        assert f"encode_{branch}.encoders" in BODIES[name]["params"]


def test_no_parameter_has_a_name_the_run_cache_forgets():
    """DVC drops keys called size or nfiles from its run-cache key (treeverse/dvc#10296)."""

    def keys(node):
        if isinstance(node, dict):
            for key, value in node.items():
                yield key
                yield from keys(value)

    assert {"size", "nfiles"}.isdisjoint(keys(PARAMS))


def test_the_project_sends_no_analytics():
    assert "analytics = false" in (ROOT / ".dvc/config").read_text()
