"""Write the manifest of a corpus: `python stages/index_corpus.py <corpus> <folder> [--name NAME]`.

Run by hand, once per corpus: the manifest is kept in git and is the root of the pipeline. Only that
of a gated corpus, which nobody may pass on, is kept out of git and in the cache of DVC.
"""

import argparse
import logging
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ecmf import plugins
from ecmf.by_hand import say
from ecmf.errors import ParamsError
from ecmf.indexing import index
from ecmf.manifest import SPLITS, Clip, classes_of, write_manifest
from ecmf.splits import hold_out

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
    if name != corpus and name in plugins.names("corpora"):
        raise ParamsError(
            f"--name {name!r} is another corpus, with its own classes: choose another"
        )
    gated: bool = plugins.load("corpora", corpus).Corpus.gated
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


def main() -> int:
    """Read the command line; a mistake the user can mend is one message and exit code 1."""
    parser = argparse.ArgumentParser(description="Write the manifest of a corpus.")
    parser.add_argument("corpus", help=f"one of {', '.join(plugins.names('corpora'))}")
    parser.add_argument("folder", type=Path, help="where the corpus lies; nothing is copied")
    parser.add_argument("--name", help="name of the manifest, if not that of the corpus")
    parser.add_argument(
        "--hold-out",
        type=float,
        metavar="SHARE",
        help="make a test split of this share of the training clips, by group, where there is none",
    )
    given = parser.parse_args()
    logging.basicConfig(format="%(levelname)s: %(message)s")
    name = given.name or given.corpus
    return say(lambda: index_corpus(given.corpus, given.folder, name, given.hold_out))


if __name__ == "__main__":
    sys.exit(main())
