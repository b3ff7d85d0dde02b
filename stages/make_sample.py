"""Nothing but a seed -> the embedded sample corpus: clips, their manifest, and the truth apart."""

import logging
from itertools import groupby
from pathlib import Path

from tqdm import tqdm

from ecmf.cli import stage
from ecmf.data.corpus_index import index
from ecmf.data.manifest import write_manifest
from ecmf.execution import process_pool
from ecmf.params import MakeSample
from sample_corpus.plan import plan
from sample_corpus.shooting import ShootingDay, shoot
from sample_corpus.speech import available
from sample_corpus.tables import remove_corpus, write_clips, write_truth


def make_sample(folder: Path, manifest: Path, truth: Path, params: MakeSample) -> None:
    """Make the clips in `folder` and their manifest; what they really show goes to `truth`."""
    clips = plan(params)
    voice = available(params.voice)
    logging.getLogger(__name__).info("%d clips, spoken by %s", len(clips), voice)
    remove_corpus(folder)
    days = [
        ShootingDay(tuple(of_actor), voice, folder, params)
        for _, of_actor in groupby(clips, key=lambda clip: clip.actor)
    ]
    with tqdm(total=len(clips), desc="make_sample", unit="clip", disable=None) as progress:
        made = process_pool.run(shoot, days, workers=process_pool.count())
        for day, result in zip(days, made, strict=True):
            if isinstance(result, process_pool.Failure):
                raise RuntimeError(f"clips of {day.clips[0].speaker}: {result.reason}")
            progress.update(result)
    write_truth(clips, voice, truth)
    write_clips(clips, folder)
    write_manifest(index("sample", folder), manifest)


if __name__ == "__main__":
    stage.main(make_sample)
