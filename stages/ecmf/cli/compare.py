"""Compare revisions on the same test clips: `ecmf compare <baseline> <other>`.

Revisions are commits, branches, tags, experiments of DVC, or `workspace`.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ecmf.cli import comparison_text
from ecmf.cli.command import Command
from ecmf.comparison.changes import edited_params
from ecmf.comparison.comparison import Comparison, compare
from ecmf.comparison.revision import WORKSPACE, Revision, read_revision
from ecmf.storage.files import write_json

CLIPS = 10

log = logging.getLogger(__name__)


def compare_revisions(names: Sequence[str], clips: int, report: Path | None) -> str:
    """Compare all revisions with the first; the last commit and the workspace by default.

    Args:
        names: The baseline, and those to compare with it; without any of those, the workspace.
        clips: Largest number of changed clips to list.
        report: JSON file to write, with the same content.
    """
    baseline, *others = [*names] or ["HEAD"]
    revisions = [read_revision(name) for name in (baseline, *(others or [WORKSPACE]))]
    for revision in revisions:
        _warn_of_edited_params(revision)
    comparisons = compare(revisions[0], revisions[1:])
    if report is not None:
        write_json(report, [_as_json(found, clips) for found in comparisons])
    if len(comparisons) == 1:
        return comparison_text.describe(comparisons[0], clips)
    return comparison_text.table(comparisons)


def _warn_of_edited_params(revision: Revision) -> None:
    if edited := edited_params(revision):
        log.warning(
            "%s was evaluated before params.yaml was edited (%s): its predictions are of the old "
            "values until `dvc repro`", revision.name, ", ".join(edited),
        )  # fmt: skip


def _as_json(found: Comparison, clips: int) -> dict[str, Any]:
    """Return all of a comparison, and whether it is certain (`verdict`), as a JSON object."""
    changed = [asdict(clip) for clip in found.changed[:clips]]
    return asdict(found) | {"verdict": found.verdict, "changed": changed}


@click.command("compare", cls=Command)
@click.argument("revisions", nargs=-1)
@click.option(
    "--clips", type=click.IntRange(0), default=CLIPS, show_default=True,
    help="Of the clips that changed sides, list this many.",
)  # fmt: skip
@click.option(
    "--json", "report", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="Also write everything to this file.",
)  # fmt: skip
def command(revisions: tuple[str, ...], clips: int, report: Path | None) -> str:
    """Compare REVISIONS with the first of them, on the same test clips.

    A revision is a commit, a branch, a tag, an experiment, or `workspace`. One alone is compared
    with the workspace; without any, the last commit is.

    The interval of a difference is a paired bootstrap over groups (speakers or dialogues). Of
    several revisions, p-values are corrected by Holm's method.

    \b
    Example:
      ecmf compare HEAD my-experiment --json comparison.json
      ecmf compare main first second workspace
    """  # noqa: D301
    return compare_revisions(revisions, clips, report)
