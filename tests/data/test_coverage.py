from pathlib import Path

import numpy as np
import pytest

from ecmf.cropping.base import Face
from ecmf.cropping.face_cropper import FACES, face_facts
from ecmf.cropping.face_finder import FoundFace
from ecmf.data.coverage import count_faces
from ecmf.storage.store import Rows, no_rows
from ecmf.storage.store_writer import StoreWriter


def found(height: float) -> FoundFace:
    return FoundFace(Face(0, 0, 10, height, 1), np.zeros((1, 1, 3), "uint8"))


def write(path: Path, clips: list[list[list[FoundFace]] | None]) -> Path:
    """Write the store of faces of clips; each is the faces of its frames, or has failed."""
    with StoreWriter(path, FACES, {}) as out:
        for number, frames in enumerate(clips):
            if frames is None:
                out.append(f"clip {number}", no_rows(FACES, "failed", "its file is gone"))
                continue
            chosen = [frame[0] for frame in frames if frame]
            columns = {
                "box": np.zeros((len(chosen), 4), "float32"),
                "score": np.ones(len(chosen), "float32"),
            }
            facts = face_facts(frames, chosen)
            times = np.arange(float(len(chosen)))
            out.append(f"clip {number}", Rows([b"jpeg"] * len(chosen), times, columns, facts))
    return path


def test_frames_with_a_face_their_heights_and_clips_with_several_faces_are_counted(
    tmp_path: Path,
) -> None:
    near = [[found(300)], [found(320)], []]
    far = [[found(40), found(30)], [found(42), found(31)]]
    faces = write(tmp_path / "faces.h5", [near, far, [[], []], None, []])
    counts = count_faces(faces)
    assert counts["frames"] == 3 + 2 + 2
    assert counts["frames_with_a_face"] == 4
    assert counts["clips_with_several_faces"] == 1
    assert counts["clips_without_a_face"] == 1
    assert counts["clips_not_searched"] == 2  # one failed, one had no video
    assert counts["face_height"]["median"] == pytest.approx((310 + 41) / 2)
    assert counts["face_height"]["5 %"] == pytest.approx(41 + 0.05 * (310 - 41), abs=0.1)


def test_a_corpus_without_a_face_has_no_height(tmp_path: Path) -> None:
    counts = count_faces(write(tmp_path / "faces.h5", [[[]], None]))
    assert counts == {
        "frames": 1,
        "frames_with_a_face": 0,
        "clips_without_a_face": 1,
        "clips_not_searched": 1,
        "clips_with_several_faces": 0,
        "face_height": None,
    }
    assert count_faces(write(tmp_path / "none.h5", [None]))["frames"] == 0
