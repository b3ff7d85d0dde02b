"""Generate the embedded sample corpus from a seed: clips, manifest and ground truth."""

import logging
from itertools import groupby
from pathlib import Path

from tqdm import tqdm

from ecmf.cli import stage
from ecmf.data.corpus_index import collect_clips
from ecmf.data.manifest import write_manifest
from ecmf.execution import process_pool
from ecmf.params import MakeSample
from sample_corpus.plan import plan_clips
from sample_corpus.rendering import RenderJob, render_actor
from sample_corpus.speech import resolve_voice
from sample_corpus.tables import remove_corpus, write_clips, write_truth


def make_sample(folder: Path, manifest: Path, truth: Path, params: MakeSample) -> None:
    """Render the clips into `folder`; write their manifest, and their true emotions to `truth`."""
    clips = plan_clips(params)
    voice = resolve_voice(params.voice)
    logging.getLogger(__name__).info("%d clips, spoken by %s", len(clips), voice)
    remove_corpus(folder)
    jobs = [
        RenderJob(tuple(of_actor), voice, folder, params)
        for _, of_actor in groupby(clips, key=lambda clip: clip.actor)
    ]
    with tqdm(total=len(clips), desc="make_sample", unit="clip", disable=None) as progress:
        results = process_pool.run(render_actor, jobs, workers=process_pool.worker_count())
        for job, result in zip(jobs, results, strict=True):
            if isinstance(result, process_pool.Failure):
                raise RuntimeError(f"cannot render {job.clips[0].speaker}: {result.reason}")
            progress.update(result)
    write_truth(clips, voice, truth)
    write_clips(clips, folder)
    write_manifest(collect_clips("sample", folder), manifest)


if __name__ == "__main__":
    stage.main(make_sample)
