"""Given labels and all other opinions -> labels. Only the training split changes.

Unlabelled clips may join it with a pseudo-label. Labels of the validation and the test split pass
through and influence nothing.
"""

from dataclasses import asdict
from pathlib import Path

from ecmf.cli import stage
from ecmf.data.enriched_text import read_texts
from ecmf.data.label_table import write_labels
from ecmf.data.manifest import classes_of, read_manifest
from ecmf.params import RefineLabels, Sources
from ecmf.refinement.label_refinement import Refinement
from ecmf.refinement.vote_table import Votes, write_votes


def refine_labels(
    manifest: Path,
    text: Path,
    features: Path,
    labels: Path,
    votes: Path,
    about: Path,
    params: RefineLabels,
    sources: Sources,
) -> None:
    """Decide on the label of every training clip; write down what every source said."""
    clips = read_manifest(manifest)
    classes = classes_of(manifest, clips)
    refinement = Refinement(clips, classes, read_texts(text), sources.paths(features), params)
    refined = refinement()
    asked = [clips[i].clip_id for i in refined.asked]
    rounds = [asdict(one) for one in refined.rounds]
    write_votes(Votes(asked, refined.opinions, rounds), classes, votes, about)
    write_labels(refined.labels, classes, labels)


if __name__ == "__main__":
    stage.main(refine_labels)
