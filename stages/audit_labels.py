"""Labels and votes -> numbers and a page from which anyone can read how the labels were made."""

import json
from pathlib import Path

from ecmf import stage
from ecmf.audit import audit
from ecmf.contested import most_contested, page
from ecmf.files import write_text
from ecmf.labels import read_labels
from ecmf.manifest import classes_of, read_manifest
from ecmf.params import AuditLabels
from ecmf.store import Store
from ecmf.votes import read_votes


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
