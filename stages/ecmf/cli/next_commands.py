"""Compose the commands that follow `ecmf index`, each ready to be pasted."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import yaml

from ecmf.cli import preset
from ecmf.cli.language_warnings import language_warnings
from ecmf.data.fold_limits import as_arguments, fitting_folds
from ecmf.data.manifest import Clip
from ecmf.errors import CorpusError
from ecmf.params import Params, load_params

PARAMS = Path("params.yaml")
GENERATED = "sample"
"""The corpus whose manifest is an output of the pipeline, and in no need of git."""


def next_commands(corpus: str, manifest: Path, clips: Sequence[Clip]) -> list[str]:
    """Return lines with the commands that version the manifest and run the pipeline.

    The run takes the preset with the name of the corpus, if there is one, fewer folds than
    `params.yaml` has if the corpus is too small for them, and other plugins of text where most
    transcripts are in a language that those cannot read. A corpus without a clip to train on has
    no such commands, but a line that says what it lacks.
    """
    arguments = [f"-S corpus={manifest.stem}"]
    if corpus in preset.names():
        arguments.insert(0, f"$(ecmf preset {corpus})")
    lines = []
    params = _params_of_run(corpus)
    try:
        changes = fitting_folds(clips, params.train_fusion, params.refine_labels) if params else {}
    except CorpusError as error:
        return [str(error)]
    if changes is None:
        lines.append(
            "too small to be divided into folds, each with groups (speakers, dialogues or films) "
            "of its own: add clips of others, and index again"
        )
    elif changes:
        groups = len({clip.group for clip in clips})
        lines.append(
            f"too small, with {groups} groups, for the folds in {PARAMS}: fewer are set below"
        )
        arguments += as_arguments(changes)
    for warning in language_warnings(clips, params) if params else ():
        lines.append(warning.text)
        arguments += warning.changes
    run = f"dvc exp run {' '.join(arguments)}"
    return [
        *lines,
        "next:",
        *(f"  {command}" for command in _versioning(manifest)),
        f"  {run}",
        "to queue it: commit the manifest, add --queue, then `dvc exp run --run-all`; the clips "
        "are read where they are",
    ]


def _versioning(manifest: Path) -> list[str]:
    if manifest.stem == GENERATED:
        return []
    # A gated corpus may not be redistributed: git ignores its manifest, and DVC has it.
    ignored = subprocess.run(
        ["git", "check-ignore", "--quiet", manifest], check=False, capture_output=True
    )
    if ignored.returncode == 0:
        return [f"dvc add {manifest}", f"git add {manifest}.dvc"]
    return [f"git add {manifest}"]


def _params_of_run(corpus: str) -> Params | None:
    """Return the parameters of the printed run; None outside a project."""
    if not PARAMS.is_file():
        return None
    if corpus in preset.names():
        return preset.applied(corpus, yaml.safe_load(PARAMS.read_text("utf-8")))
    return load_params(PARAMS)
