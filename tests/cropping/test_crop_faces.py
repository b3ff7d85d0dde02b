from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import skimage.data

from crop_faces import crop_faces
from decode_video import decode_video
from ecmf.cropping.base import Face
from ecmf.cropping.face_cropper import FaceCropper, crop
from ecmf.data.manifest import Clip, write_manifest
from ecmf.errors import ErrorBudgetError, ParamsError
from ecmf.media import RGB, Images
from ecmf.params import CropFaces, DecodeVideo
from ecmf.storage.files import sha256
from ecmf.storage.jpeg import decode_jpeg, encode_jpeg
from ecmf.storage.store import Layout, Rows, Store, no_rows
from ecmf.storage.store_writer import StoreWriter

FRAMES = Layout(jpeg=True)
FACE = 222, 125
"""Centre of the face in the portrait: x, y."""


@pytest.fixture(autouse=True)
def one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECMF_WORKERS", "1")


@pytest.fixture(scope="module")
def portrait() -> RGB:
    image: RGB = skimage.data.astronaut()
    return image


def view(portrait: RGB, left: int = 60, top: int = 10) -> RGB:
    """A window of 320 x 240 pixels of the portrait."""
    return portrait[top : top + 240, left : left + 320]


def stored(path: Path, clips: Mapping[str, Sequence[RGB]]) -> Path:
    with StoreWriter(path, FRAMES, {}) as out:
        for clip_id, images in clips.items():
            files = [encode_jpeg(image, 95) for image in images]
            rows = Rows(files, np.arange(len(files)) / 4)
            out.append(clip_id, rows if files else no_rows(FRAMES, "empty", "no picture stream"))
    return path


@pytest.fixture
def frames(tmp_path: Path, portrait: RGB) -> Path:
    black = np.zeros((240, 320, 3), "uint8")
    clips = {
        "moving": [view(portrait, left) for left in (40, 50, 60, 70)],
        "dark": [black] * 4,
        "sound": [],
        "rare": [black, view(portrait), black, black],
    }
    return stored(tmp_path / "frames.h5", clips)


def run(frames: Path, params: CropFaces | None = None, name: str = "faces.h5") -> Path:
    faces = frames.with_name(name)
    crop_faces(frames, faces, params or CropFaces())
    return faces


def test_every_clip_has_a_state_and_a_reason(frames: Path) -> None:
    with Store(run(frames)) as faces:
        assert list(faces) == ["moving", "dark", "sound", "rare"]
        assert faces.state("moving") == ("whole", "")
        assert faces.state("dark") == ("empty", "no face found in 4 frames")
        assert faces.state("sound") == ("empty", "no frames")
        assert faces.state("rare") == ("flagged", "a face in 1 of 4 frames only")
        assert [rows.facts["frames"] for rows in faces.values()] == [4, 4, 0, 4]
        assert [rows.facts["faces"] for rows in faces.values()] == [4, 0, 0, 1]


def test_every_crop_has_its_box_score_and_time(frames: Path) -> None:
    with Store(run(frames)) as faces:
        moving = faces["moving"]
        assert moving.columns["score"].min() > 0
        middles = moving.columns["box"].reshape(-1, 2, 2).mean(axis=1)
        expected = [(FACE[0] - left, FACE[1] - 10) for left in (40, 50, 60, 70)]
        assert np.abs(middles - expected).max() < 15
        assert faces["rare"].times.tolist() == [0.25]


def test_crops_are_square_and_of_the_requested_size(frames: Path) -> None:
    with Store(run(frames, CropFaces(crop_pixels=96))) as faces:
        assert {decode_jpeg(file).shape for file in faces["moving"].values} == {(96, 96, 3)}


def test_the_face_stays_in_the_middle_of_its_crop_as_it_moves(frames: Path) -> None:
    with Store(run(frames)) as faces:
        crops = [decode_jpeg(file).astype(float) for file in faces["moving"].values]
    inner = [image[20:-20, 20:-20] for image in crops]
    for other in inner[1:]:
        assert np.corrcoef(inner[0].ravel(), other.ravel())[0, 1] > 0.85


def test_the_provenance_of_the_store_holds_the_parameters(frames: Path) -> None:
    with Store(run(frames, CropFaces(margin=0.1))) as faces:
        assert faces.provenance["detector"] == "dlib_hog"
        assert faces.provenance["margin"] == 0.1
        assert faces.provenance["minimum_confidence"] == 0.0


def test_faces_below_the_minimum_confidence_are_dropped(frames: Path) -> None:
    with Store(run(frames, CropFaces(minimum_confidence=100.0))) as faces:
        assert faces.state("moving") == ("empty", "no face found in 4 frames")


def test_any_number_of_workers_writes_the_same_bytes(
    frames: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(frames, name="one.h5").read_bytes()
    monkeypatch.setenv("ECMF_WORKERS", "2")
    assert run(frames, name="two.h5").read_bytes() == expected


def test_wrong_options_stop_the_stage_before_it_writes(frames: Path) -> None:
    with pytest.raises(ParamsError, match=r"upsampel.*Did you mean 'upsample'"):
        run(frames, CropFaces(options={"dlib_hog": {"upsampel": 1}}))
    assert not frames.with_name("faces.h5").exists()


def test_a_clip_in_memory_gets_the_same_crops_as_in_the_stage(frames: Path) -> None:
    with Store(frames) as source, Store(run(frames)) as faces:
        rows = source["moving"]
        clip = Images("moving", [decode_jpeg(file) for file in rows.values], rows.times)
        assert FaceCropper(CropFaces())(clip).values == faces["moving"].values


def test_the_margin_is_a_fraction_of_the_box_on_each_side() -> None:
    image = np.zeros((100, 100, 3), "uint8")
    image[40:60, 40:60] = 255
    box = Face(40, 40, 60, 60, 1)
    assert (crop(image, box, margin=0, pixels=20) == 255).all()
    wide = crop(image, box, margin=0.5, pixels=40)[..., 0] == 255
    assert wide.sum() == 20 * 20
    assert wide[10:30, 10:30].all()


def test_a_box_that_is_not_square_is_cropped_around_its_middle() -> None:
    image = np.zeros((100, 100, 3), "uint8")
    image[30:70, 40:60] = 255
    cropped = crop(image, Face(40, 30, 60, 70, 1), margin=0, pixels=40)[..., 0]
    assert (cropped[:, 10:30] == 255).all()
    assert cropped[:, :10].max() == cropped[:, 30:].max() == 0


def test_outside_the_image_its_border_is_repeated() -> None:
    image = np.full((50, 60, 3), 7, "uint8")
    image[:, 0] = 90
    cropped = crop(image, Face(-10, 5, 10, 25, 1), margin=0, pixels=20)
    assert (cropped[:, :11] == 90).all()
    assert (cropped[:, 11:] == 7).all()


def test_a_face_is_found_in_nearly_every_frame_of_real_video(shared: Path, tmp_path: Path) -> None:
    videos = sorted((shared / "data" / "ravdess_av").glob("*.mp4"))
    clips = [
        Clip(video.stem, str(video), split="unlabelled", sha256=sha256(video)) for video in videos
    ]
    write_manifest(clips, tmp_path / "real.csv")
    frames, audio = tmp_path / "frames.h5", tmp_path / "audio.h5"
    decode_video(tmp_path / "real.csv", frames, audio, DecodeVideo())
    with Store(run(frames)) as faces:
        assert len(faces) == 3
        for rows in faces.values():
            assert rows.facts["faces"] >= 0.95 * rows.facts["frames"]
            assert rows.state == "whole"


def test_a_clip_whose_frames_cannot_be_decoded_fails_alone_within_the_budget(
    tmp_path: Path,
) -> None:
    layout = Layout(jpeg=True)
    frames = tmp_path / "frames.h5"
    with StoreWriter(frames, layout, {}) as out:
        out.append("torn", Rows([b"no picture"], np.zeros(1)))
        out.append("dark", Rows([encode_jpeg(np.zeros((90, 120, 3), "uint8"), 95)], np.zeros(1)))
    with Store(run(frames, CropFaces(error_budget=0.5))) as faces:
        assert faces.state("torn")[0] == "failed"
        assert faces.state("dark")[0] == "empty"
    with pytest.raises(ErrorBudgetError, match=r"1 of 2 clips failed(.*\n.*)*torn: 10 bytes"):
        run(frames, CropFaces(error_budget=0), name="other.h5")
