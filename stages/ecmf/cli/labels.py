"""Take refined labels and doubts back to a labelling tool: `ecmf labels <tool> <folder> <out>`.

The annotations in the folder stay as they are: copies with the labels go to another folder.
"""

from math import log
from pathlib import Path

import click

from ecmf import registry
from ecmf.cli.command import Command
from ecmf.data.label_proposals import LabelWriter, Proposal
from ecmf.data.label_table import Label, read_labels
from ecmf.data.manifest import classes_of, read_manifest
from ecmf.errors import CorpusError, ParamsError
from ecmf.refinement.uncertain_clips import UncertainClip, most_uncertain_clips
from ecmf.refinement.vote_table import read_votes

DATA = Path("data")


def tools() -> list[str]:
    """List the corpora that are read from a labelling tool and can be written for it."""
    return [
        name
        for name in registry.names("corpora")
        if hasattr(registry.load("corpora", name).Corpus, "write_labels")
    ]


def write_labels(tool: str, folder: Path, out: Path, name: str, clips: int, data: Path) -> str:
    """Write the annotations of `folder` with refined labels to `out`; return a summary.

    The `clips` with the most uncertain votes carry their doubt, as in `metrics/doubts.html`.

    Raises:
        ParamsError: `tool` is no labelling tool, or `out` is in `folder`.
        CorpusError: the labels are of another manifest, or no clip is in the annotations.
        MissingFileError: the manifest, the labels or the votes are absent.
    """
    if tool not in tools():
        raise ParamsError(
            f"no labelling tool {tool!r}: choose one of {', '.join(tools())}."
            f"{registry.did_you_mean(tool, tools())}"
        )
    if out.resolve().is_relative_to(folder.resolve()):
        raise ParamsError(f"{out} is in {folder}, and would be indexed: choose a folder outside")
    proposals = _proposals(data / "manifests" / f"{name}.csv", data, clips)
    writer: LabelWriter = registry.load("corpora", tool).Corpus()
    written = writer.write_labels(folder, out, proposals)
    if not written:
        raise CorpusError(
            f"no clip of {name} is in the annotations of {folder}: name the folder it was indexed "
            "from, and run `dvc repro refine_labels` after indexing"
        )
    doubts = sum(bool(proposal.note) for proposal in proposals.values())
    missing = f"; {more} clips are in no annotation" if (more := len(proposals) - written) else ""
    return f"{out}: refined labels of {written} clips, {doubts} of them with doubts{missing}"


def _proposals(manifest: Path, data: Path, count: int) -> dict[str, Proposal]:
    clips = read_manifest(manifest)
    classes = classes_of(manifest, clips)
    labels = read_labels(data / "labels.csv", [clip.clip_id for clip in clips], classes)
    table = read_votes(data / "votes.csv", data / "sources.json")
    voted = most_uncertain_clips(clips, labels, table.clip_ids, table.sources)
    doubts = {uncertain.clip.clip_id: uncertain for uncertain in voted}
    noted = {uncertain.clip.clip_id for uncertain in voted[:count]}
    return {
        label.clip_id: _proposal(label, doubts.get(label.clip_id), label.clip_id in noted, classes)
        for label in labels
        if label.label
    }


def _proposal(
    label: Label, uncertain: UncertainClip | None, noted: bool, classes: tuple[str, ...]
) -> Proposal:
    if uncertain is None:
        return Proposal(label.label, max(label.soft))
    doubt = uncertain.entropy
    confidence = 1 - doubt / log(max(2, len(classes)))
    reason = f"{label.decision}: {label.reason}" if label.reason else label.decision
    note = f"doubt {doubt:.2f}, {reason} ({label.sources})" if noted else ""
    return Proposal(label.label, round(max(0.0, confidence), 6), note)


@click.command("labels", cls=Command)
@click.argument("tool")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--name", help="Name of the manifest; default: TOOL.")
@click.option("--clips", default=40, show_default=True, help="Clips that carry their doubt.")
def command(tool: str, folder: Path, out: Path, name: str | None, clips: int) -> str:
    """Write the annotations in FOLDER with the labels of data/labels.csv to the folder OUT.

    TOOL is audformat, elan, label_studio or praat: the corpus that FOLDER was indexed as.

    \b
    Example:
      ecmf labels elan data/raw/talks review --name talks
    """  # noqa: D301
    return write_labels(tool, folder, out, name or tool, clips, DATA)
