"""Labels and votes -> numbers and a page from which anyone can read how the labels were made."""

import json
from pathlib import Path

from ecmf.cli import stage
from ecmf.data.label_table import read_labels
from ecmf.data.manifest import classes_of, read_manifest
from ecmf.params import AuditLabels
from ecmf.refinement.audit_metrics import audit
from ecmf.refinement.audit_page import most_contested, page
from ecmf.refinement.vote_table import read_votes
from ecmf.storage.files import write_text
from ecmf.storage.store import Store


def audit_labels(
    manifest: Path,
    frames: Path,
    labels: Path,
    votes: Path,
    about: Path,
    report: Path,
    doubts: Path,
    params: AuditLabels,
) -> None:
    """Count what was decided and on whose word; show the clips the sources differ on most."""
    clips = read_manifest(manifest)
    classes = classes_of(manifest, clips)
    made = read_labels(labels, [clip.clip_id for clip in clips], classes)
    said = read_votes(votes, about)
    write_text(report, json.dumps(audit(made, said, classes), indent=1) + "\n")
    contested = most_contested(clips, made, said.clip_ids, said.opinions, params.clips)
    with Store(frames) as pictures:
        write_text(doubts, page(contested, classes, pictures, params.frames))


if __name__ == "__main__":
    stage.main(audit_labels)
