"""Count how the labels were refined: who was relabelled on whose word."""

from pathlib import Path

from ecmf.cli import stage
from ecmf.data.label_table import read_labels
from ecmf.data.manifest import classes_of, read_manifest
from ecmf.refinement.audit_metrics import audit
from ecmf.refinement.vote_table import read_votes
from ecmf.storage.files import write_json


def audit_labels(
    manifest: Path, labels: Path, votes: Path, sources_json: Path, report: Path
) -> None:
    """Count the decisions on labels, and the votes for and against each."""
    clips = read_manifest(manifest)
    classes = classes_of(manifest, clips)
    refined = read_labels(labels, [clip.clip_id for clip in clips], classes)
    write_json(report, audit(refined, read_votes(votes, sources_json), classes), indent=1)


if __name__ == "__main__":
    stage.main(audit_labels)
