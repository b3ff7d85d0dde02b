"""Write the report of the run: one page with scores, figures and a browser of the clips."""

from pathlib import Path

from ecmf.cli import stage
from ecmf.data.enriched_text import read_texts, with_raw_texts
from ecmf.data.label_table import read_labels
from ecmf.data.manifest import classes_of, read_manifest
from ecmf.params import WriteReport
from ecmf.refinement.uncertain_clips import most_uncertain_clips
from ecmf.refinement.vote_table import read_votes
from ecmf.reporting.clip_rows import ClipSources, browser
from ecmf.reporting.page import render_page
from ecmf.reporting.report import Reports, missing_parts, read_report, report_content
from ecmf.reporting.results import read_results
from ecmf.storage.files import write_text
from ecmf.storage.store import Store
from ecmf.training.model_metadata import read_metadata


def write_report(
    manifest: Path,
    frames: Path,
    audio: Path,
    faces: Path,
    text: Path,
    labels: Path,
    votes: Path,
    sources_json: Path,
    audit: Path,
    model: Path,
    curves: Path,
    evaluation: Path,
    details: Path,
    predictions: Path,
    coverage: Path,
    page: Path,
    params: WriteReport,
) -> None:
    """Render the outputs of all stages as one HTML page."""
    texts = read_texts(text)
    clips = with_raw_texts(read_manifest(manifest), texts)
    classes = classes_of(manifest, clips)
    results = read_results(predictions, clips, classes)
    refined = read_labels(labels, [clip.clip_id for clip in clips], classes)
    table = read_votes(votes, sources_json)
    uncertain = most_uncertain_clips(clips, refined, table.clip_ids, table.sources)
    voters = list(table.sources)
    reports = Reports(*map(read_report, (evaluation, details, audit, coverage)))
    with Store(frames) as images, Store(faces) as crops, Store(audio) as waveforms:
        missing = missing_parts(clips, images, crops, waveforms)
        folder = page.parent if params.link_clips else None
        shown = browser(
            results,
            ClipSources(
                refined, texts, voters, uncertain, missing, images, crops, waveforms, folder
            ),
        )
    content = report_content(
        manifest.stem, results, read_metadata(model), reports, curves, missing, voters, shown
    )
    write_text(page, render_page(content))


if __name__ == "__main__":
    stage.main(write_report)
