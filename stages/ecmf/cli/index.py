"""Write the manifest of a corpus: `python stages/index_corpus.py <corpus> <folder> [--name NAME]`.

Run by hand, once per corpus: the manifest is kept in git and is the root of the pipeline. Only that
of a gated corpus, which nobody may pass on, is kept out of git and in the cache of DVC.
"""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from ecmf import registry
from ecmf.cli.command import Command
from ecmf.data.corpus_index import index
from ecmf.data.manifest import SPLITS, Clip, classes_of, write_manifest
from ecmf.data.splits import hold_out
from ecmf.errors import ParamsError

MANIFESTS = Path("data/manifests")
RAW = Path("data/raw")
HOLD_OUT_SEED = 0
"""The draw is written down in the manifest; another seed would only invite to choose one."""

WORTH_HAVING = ("video", "transcript", "speaker", "label")


def index_corpus(corpus: str, folder: Path, name: str, held_out: float | None = None) -> str:
    """Write data/manifests/<name>.csv of the clips in `folder`; return a summary.

    `held_out` is the share of the training clips that becomes a test split (`splits.hold_out`).
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise ParamsError(f"--name {name!r}: use letters, digits, - and _ only")
    if name != corpus and name in registry.names("corpora"):
        raise ParamsError(
            f"--name {name!r} is another corpus, with its own classes: choose another"
        )
    gated: bool = registry.load("corpora", corpus).Corpus.gated
    if gated:
        _refuse_what_git_would_see(corpus, folder, name)
    clips = index(corpus, folder)
    if held_out is not None:
        clips = hold_out(clips, held_out, HOLD_OUT_SEED)
    manifest = MANIFESTS / f"{name}.csv"
    write_manifest(clips, manifest)
    said = [f"{manifest}: {summary(clips, classes_of(manifest, clips))}"]
    if gated:
        said += [
            f"{corpus} is gated: its clips, its labels and files made from them may not be passed",
            "on. Git ignores them; never add them by force, nor push them to a DVC remote that",
            "others can read. What may be committed is the fingerprint of the manifest:",
            f"next: dvc add {manifest} && git add {manifest}.dvc",
        ]
    return "\n".join([*said, f"next: dvc exp run -S corpus={name}"])


def _refuse_what_git_would_see(corpus: str, folder: Path, name: str) -> None:
    """Keep a gated corpus where .gitignore covers it: manifests by their name, clips by place."""
    if not name.startswith(corpus):
        raise ParamsError(
            f"--name {name!r}: {corpus} is gated, and git ignores only manifests whose name begins "
            f"with {corpus}: choose such a name"
        )
    place, project = folder.resolve(), Path.cwd().resolve()
    if place.is_relative_to(project) and not place.is_relative_to(project / RAW):
        raise ParamsError(
            f"{folder}: {corpus} is gated, and in this project git ignores only {RAW}/: move the "
            "folder there, or out of the project"
        )


def summary(clips: Sequence[Clip], classes: Sequence[str]) -> str:
    """Say in a few lines how many clips there are per split and class, and what they lack."""
    speakers = {clip.speaker for clip in clips if clip.speaker}
    lines = [f"{len(clips)} clips, {len(speakers)} speakers, {len(classes)} classes"]
    for split in SPLITS:
        labels = Counter(clip.label for clip in clips if clip.split == split)
        counts = ", ".join(f"{name} {labels[name]}" for name in classes if labels[name])
        if labels:
            lines.append(f"  {split}: {labels.total()} clips" + (f" ({counts})" if counts else ""))
    for column in WORTH_HAVING:
        without = sum(not getattr(clip, column) for clip in clips)
        if without:
            lines.append(f"  {without} clips name no {column}")
    return "\n".join(lines)


@click.command("index", cls=Command)
@click.argument("corpus")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--name", help="Name of the manifest, if not that of the corpus.")
@click.option(
    "--hold-out",
    type=float,
    metavar="SHARE",
    help="Make a test split of this share of the training clips, by group, where there is none.",
)
def command(corpus: str, folder: Path, name: str | None, hold_out: float | None) -> str:
    r"""Write data/manifests/<name>.csv of the clips in FOLDER; nothing is copied.

    CORPUS is a file in stages/ecmf/corpora/: folder, meld, mer2025, ravdess, sample.

    \b
    Example:
      ecmf index folder data/raw/mine --name mine --hold-out 0.2
    """
    return index_corpus(corpus, folder, name or corpus, hold_out)
