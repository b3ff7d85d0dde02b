"""Generate the embedded sample corpus from a seed: clips, manifest and ground truth."""

import logging
from pathlib import Path

from ecmf.cli import stage
from ecmf.data.corpus_index import collect_clips
from ecmf.data.manifest import write_manifest
from ecmf.params import MakeSample
from sample_corpus.plan import plan_clips
from sample_corpus.rendering import render_clips
from sample_corpus.speech import resolve_voice
from sample_corpus.tables import remove_corpus, write_clips, write_truth


def make_sample(folder: Path, manifest: Path, truth: Path, params: MakeSample) -> None:
    """Render the clips into `folder`; write their manifest, and their true emotions to `truth`."""
    clips = plan_clips(params)
    voice = resolve_voice(params.voice)
    logging.getLogger(__name__).info("%d clips, spoken by %s", len(clips), voice)
    remove_corpus(folder)
    render_clips(clips, voice, folder, params)
    write_truth(clips, voice, truth)
    write_clips(clips, folder)
    write_manifest(collect_clips("sample", folder), manifest)


if __name__ == "__main__":
    stage.main(make_sample)
