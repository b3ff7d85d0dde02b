"""Count the clips of every store by state, and the frames in which a face was found."""

from pathlib import Path

from ecmf.cli import stage
from ecmf.data.coverage import count_faces, count_states, incomplete_clips, read_states
from ecmf.data.enriched_text import read_texts
from ecmf.params import Sources
from ecmf.storage.files import write_csv, write_json


def report_coverage(
    frames: Path,
    audio: Path,
    faces: Path,
    text: Path,
    features: Path,
    coverage: Path,
    incomplete: Path,
    sources: Sources,
) -> None:
    """Write the counts of all stores to `coverage`, and the clips not whole to `incomplete`.

    The clips are in a separate file because ids of a gated corpus must not be committed.
    """
    stores = {"frames": frames, "audio": audio, "faces": faces, **sources.paths(features)}
    states = read_states(stores, read_texts(text))
    counts = count_states(states)
    write_json(coverage, {**counts, "faces": {**counts["faces"], **count_faces(faces)}})
    write_csv(incomplete, incomplete_clips(states))


if __name__ == "__main__":
    stage.main(report_coverage)
