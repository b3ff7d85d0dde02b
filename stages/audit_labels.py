"""Report how the labels were refined, as numbers and as a page of the most uncertain clips."""

from pathlib import Path

from ecmf.cli import stage
from ecmf.data.label_table import read_labels
from ecmf.data.manifest import classes_of, read_manifest
from ecmf.params import AuditLabels
from ecmf.refinement.audit_metrics import audit
from ecmf.refinement.audit_page import most_uncertain_clips, render_page
from ecmf.refinement.vote_table import read_votes
from ecmf.storage.files import write_json, write_text
from ecmf.storage.store import Store


def audit_labels(
    manifest: Path,
    frames: Path,
    labels: Path,
    votes: Path,
    sources_json: Path,
    report: Path,
    page: Path,
    params: AuditLabels,
) -> None:
    """Count the decisions on labels, and show the clips with the most uncertain votes."""
    clips = read_manifest(manifest)
    classes = classes_of(manifest, clips)
    refined = read_labels(labels, [clip.clip_id for clip in clips], classes)
    table = read_votes(votes, sources_json)
    write_json(report, audit(refined, table, classes), indent=1)
    uncertain = most_uncertain_clips(clips, refined, table.clip_ids, table.sources, params.clips)
    with Store(frames) as store:
        write_text(page, render_page(uncertain, classes, store, params.frames))


if __name__ == "__main__":
    stage.main(audit_labels)
