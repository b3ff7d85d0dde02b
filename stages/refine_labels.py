"""Refine the labels of the training split by the votes of all label sources.

Unlabelled clips may be added with a pseudo-label. Labels of the validation and test splits are
copied unchanged and are not used.
"""

from pathlib import Path

from ecmf.cli import stage
from ecmf.data.enriched_text import read_texts
from ecmf.data.label_table import write_labels
from ecmf.data.manifest import classes_of, read_manifest
from ecmf.params import RefineLabels, Sources
from ecmf.refinement.label_refinement import LabelRefinement
from ecmf.refinement.vote_table import VoteTable, write_votes


def refine_labels(
    manifest: Path,
    text: Path,
    features: Path,
    labels: Path,
    votes: Path,
    sources_json: Path,
    params: RefineLabels,
    sources: Sources,
) -> None:
    """Decide on the label of every training clip, and write the votes of all sources."""
    clips = read_manifest(manifest)
    classes = classes_of(manifest, clips)
    paths = sources.paths(features)
    refined = LabelRefinement(clips, classes, read_texts(text), paths, params)()
    rounds = [{"added": r.added, "waf": r.waf, "kept": r.accepted} for r in refined.rounds]
    voted = [clips[i].clip_id for i in refined.voted_clips]
    write_votes(VoteTable(voted, refined.votes, rounds), classes, votes, sources_json)
    write_labels(refined.labels, classes, labels)


if __name__ == "__main__":
    stage.main(refine_labels)
