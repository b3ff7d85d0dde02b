"""Write the manifest of a corpus: `ecmf index <corpus> <folder> [--name NAME]`.

Run it once per corpus: the manifest is versioned in git and is the root of the pipeline. A gated
corpus may not be redistributed, so its manifest is stored in the DVC cache instead.
"""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from ecmf import registry
from ecmf.cli.command import Command
from ecmf.cli.next_commands import next_commands
from ecmf.data.corpus_index import collect_clips
from ecmf.data.corpus_warnings import corpus_warnings, shared_contents
from ecmf.data.manifest import SPLITS, Clip, classes_of, raise_errors, read_manifest, write_manifest
from ecmf.data.splits import hold_out_test
from ecmf.errors import CorpusError, ParamsError, summarise

MANIFESTS = Path("data/manifests")
RAW = Path("data/raw")
HOLD_OUT_SEED = 0
"""Fixed, so that the split cannot be chosen by its scores; the manifest records the draw."""

REPORTED_COLUMNS = ("video", "transcript", "speaker", "label")


def index_corpus(
    corpus: str,
    folder: Path,
    name: str,
    test_fraction: float | None = None,
    *,
    follow_links: bool = False,
    allow_shared_content: bool = False,
    check: bool = False,
) -> str:
    """Write data/manifests/<name>.csv of the clips in `folder`; return a summary.

    `test_fraction` of the training clips become a test split, see `splits.hold_out_test`. With
    `check`, the manifest is only compared with the folder.

    Raises:
        ParamsError: `name` cannot be used, or git does not ignore the files of a gated corpus.
        CorpusError: as `collect_clips`, or the same content is trained on and tested and not
            `allow_shared_content`, or with `check` the manifest differs from the folder.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise ParamsError(f"--name {name!r}: use letters, digits, - and _ only")
    if name != corpus and name in registry.names("corpora"):
        raise ParamsError(
            f"--name {name!r} is the name of another corpus, with its own classes: choose another"
        )
    gated: bool = registry.load("corpora", corpus).Corpus.gated
    if gated:
        _check_git_ignores(corpus, folder, name)
    clips = collect_clips(corpus, folder, follow_links=follow_links)
    if test_fraction is not None:
        clips = hold_out_test(clips, test_fraction, HOLD_OUT_SEED)
    if not allow_shared_content:
        _check_contents(folder, clips)
    manifest = MANIFESTS / f"{name}.csv"
    if check:
        return _compare(read_manifest(manifest), clips, manifest)
    write_manifest(clips, manifest)
    classes = classes_of(manifest, clips)
    lines = [f"{manifest}: {summary(clips, classes)}"]
    lines += [f"  warning: {warning}" for warning in corpus_warnings(clips, classes)]
    if gated:
        lines += [
            f"{corpus} is gated: its clips, its labels and files made from them may not be",
            "redistributed. Git ignores them: do not add them by force, nor push them to a DVC",
            "remote that others can read. Commit only the checksum of the manifest, as below.",
        ]
    return "\n".join([*lines, *next_commands(corpus, manifest, clips)])


def _check_git_ignores(corpus: str, folder: Path, name: str) -> None:
    """Check that .gitignore covers a gated corpus: its manifest by name, its clips by folder."""
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


def _compare(old: Sequence[Clip], new: Sequence[Clip], manifest: Path) -> str:
    """Say that a manifest is up to date; raises CorpusError with every difference."""
    indexed, found = ({clip.clip_id: clip for clip in clips} for clips in (old, new))
    errors = [f"clip {name!r} is no longer in the folder" for name in indexed if name not in found]
    for name, clip in found.items():
        if name not in indexed:
            errors.append(f"clip {name!r} is new")
        elif clip.sha256 != indexed[name].sha256:
            errors.append(f"clip {name!r}: its files have changed since it was indexed")
        elif clip != indexed[name]:
            errors.append(f"clip {name!r}: its row has changed since it was indexed")
    if errors:
        remedy = "index the corpus again without --check, so that `dvc repro` works on the changes"
        raise CorpusError(f"{summarise(manifest, errors)}\n{remedy}")
    return f"{manifest}: all {len(new)} clips are as they were indexed"


def _check_contents(folder: Path, clips: Sequence[Clip]) -> None:
    shared = shared_contents(clips)
    errors = [
        f"clips {one.clip_id!r} ({one.split}) and {other.clip_id!r} ({other.split}) have the same "
        "content (sha256), and models would be tested on what they were trained on: move both to "
        "one split and one group, or remove one; --allow-shared-content takes them as they are, "
        "with a warning beside the scores"
        for one, other in shared
    ]
    raise_errors(folder, errors)


def summary(clips: Sequence[Clip], classes: Sequence[str]) -> str:
    """Format the numbers of clips per split and class, and of clips with an empty column."""
    speakers = {clip.speaker for clip in clips if clip.speaker}
    lines = [f"{len(clips)} clips, {len(speakers)} speakers, {len(classes)} classes"]
    for split in SPLITS:
        labels = Counter(clip.label for clip in clips if clip.split == split)
        counts = ", ".join(f"{name} {labels[name]}" for name in classes if labels[name])
        if labels:
            lines.append(f"  {split}: {labels.total()} clips" + (f" ({counts})" if counts else ""))
    for column in REPORTED_COLUMNS:
        without = sum(not getattr(clip, column) for clip in clips)
        if without:
            lines.append(f"  {without} clips without {column}")
    return "\n".join(lines)


@click.command("index", cls=Command, epilog=f"Corpora: {', '.join(registry.names('corpora'))}.")
@click.argument("corpus")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--name", help="Name of the manifest; default: CORPUS.")
@click.option(
    "--hold-out",
    type=float,
    metavar="FRACTION",
    help="Make a test split of this fraction of the training clips, by group.",
)
@click.option("--follow-links", is_flag=True, help="Use files that links out of FOLDER lead to.")
@click.option(
    "--allow-shared-content",
    is_flag=True,
    help="Take files with the same content on both sides of a split, with a warning.",
)
@click.option(
    "--check", is_flag=True, help="Write nothing; say which clips changed since they were indexed."
)
def command(
    corpus: str,
    folder: Path,
    name: str | None,
    hold_out: float | None,
    **flags: bool,
) -> str:
    """Write data/manifests/<name>.csv of the clips in FOLDER; no clip is copied.

    CORPUS is a file in stages/ecmf/corpora/.

    \b
    Example:
      ecmf index folder data/raw/mine --name mine --hold-out 0.2
    """  # noqa: D301
    return index_corpus(corpus, folder, name or corpus, hold_out, **flags)
