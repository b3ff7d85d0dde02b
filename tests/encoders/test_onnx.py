"""Image and face networks in ONNX files."""

import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import skimage.data
import tiny_onnx
from insightface.model_zoo.arcface_onnx import ArcFaceONNX
from numpy.typing import NDArray
from tiny_scrfd import write_tiny_scrfd

from ecmf import registry
from ecmf.encoding.batching import encode
from ecmf.errors import MissingFileError, ParamsError, UserError
from ecmf.media import Images
from ecmf.pretrained.onnx_model import read_model
from ecmf.storage.files import sha256

PHOTOGRAPH: NDArray[np.uint8] = skimage.data.astronaut()
FACE = PHOTOGRAPH[70:180, 170:280]
"""The smiling face of Eileen Collins."""


def create(name: str, options: dict[str, Any]) -> Any:
    return registry.build("encoders.image", "Encoder", name, options)


def rows(encoder: Any, *images: NDArray[np.uint8]) -> NDArray[np.float32]:
    (features,) = encode(encoder, [Images("x", images, np.arange(len(images)) * 1.0)])
    values: NDArray[np.float32] = features.values
    return values


def run_onnx(path: str, output: str, batch: NDArray[Any]) -> NDArray[np.float32]:
    """Compute an output with onnxruntime alone."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    values: NDArray[np.float32] = session.run([output], {session.get_inputs()[0].name: batch})[0]
    return values


# --- onnx -------------------------------------------------------------------------------------


def fer2013(shared: Path, **changes: Any) -> dict[str, Any]:
    path = shared / "models" / "fer2013_mini_xception.onnx"
    scale = {"colour": "grey", "mean": [0.5], "std": [0.5]}
    return {"weights": str(path), "sha256": sha256(path), **scale, **changes}


def test_real_weights_classify_a_smiling_astronaut_as_happy(shared: Path) -> None:
    encoder = create("onnx", fer2013(shared, output="probabilities"))
    (probs,) = rows(encoder, FACE)
    names = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
    assert names[probs.argmax()] == "happy"
    assert probs.sum() == pytest.approx(1)


def test_real_weights_equal_the_embedding_with_their_authors_preprocessing(shared: Path) -> None:
    options = fer2013(shared, output="embedding")
    grey = cv2.cvtColor(FACE, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (64, 64), interpolation=cv2.INTER_AREA)
    numbers = ((small[None, None] / 255 - 0.5) * 2).astype("float32")
    encoder = create("onnx", options)
    assert encoder.dim == 128
    expected = run_onnx(options["weights"], "embedding", numbers)
    np.testing.assert_allclose(rows(encoder, FACE), expected, atol=1e-5)


def test_layout_colours_and_scale_are_applied(tmp_path: Path) -> None:
    first = tiny_onnx.image_network(tmp_path / "first.onnx")
    last = tiny_onnx.image_network(tmp_path / "last.onnx", layout="NHWC")
    mean, std = [0.1, 0.2, 0.3], [0.5, 1.0, 2.0]
    pixels = FACE[:16, :16].astype("float64")
    numbers = ((pixels / 200 - mean) / std).astype("float32").transpose(2, 0, 1)[None]
    expected = run_onnx(first["weights"], "row", numbers)
    for options in (first, last):
        encoder = create(
            "onnx", {**options, "output": "row", "scale": 1 / 200, "mean": mean, "std": std}
        )
        np.testing.assert_allclose(rows(encoder, FACE[:16, :16]), expected, rtol=1e-4)
    bgr = create("onnx", {**first, "output": "row", "colour": "bgr"})
    rgb = create("onnx", {**first, "output": "row"})
    assert np.array_equal(rows(bgr, FACE[..., ::-1]), rows(rgb, FACE))
    assert not np.array_equal(rows(bgr, FACE), rows(rgb, FACE))


def test_grey_weights_colours_by_their_perceived_brightness(tmp_path: Path) -> None:
    options = tiny_onnx.image_network(tmp_path / "grey.onnx", channels=1)
    encoder = create("onnx", {**options, "output": "row", "colour": "grey"})
    green, grey = (np.full((16, 16, 3), colour, "uint8") for colour in ((0, 100, 0), 59))
    assert np.array_equal(rows(encoder, green), rows(encoder, grey))


def test_area_averages_every_pixel_and_linear_the_nearest(tmp_path: Path) -> None:
    options = {**tiny_onnx.image_network(tmp_path / "net.onnx"), "output": "row"}
    lines = np.zeros((64, 64, 3), "uint8")
    lines[::4] = 200  # linear looks between the second and the third of four
    plain = [np.full((16, 16, 3), level, "uint8") for level in (50, 0)]
    for interpolation, equal in zip(("area", "linear"), plain, strict=True):
        encoder = create("onnx", {**options, "interpolation": interpolation})
        assert np.array_equal(rows(encoder, lines), rows(encoder, equal))


def test_trimmed_margins_have_no_effect(tmp_path: Path) -> None:
    options = {**tiny_onnx.image_network(tmp_path / "net.onnx"), "output": "row"}
    inner = FACE[:60, :60]
    framed = cv2.copyMakeBorder(inner, *[10] * 4, cv2.BORDER_CONSTANT, value=(9, 0, 0))
    trimmed = rows(create("onnx", {**options, "trim": 0.125}), framed)
    assert np.array_equal(trimmed, rows(create("onnx", options), inner))


def test_a_file_of_batch_size_one_equals_one_of_any_batch_size(tmp_path: Path) -> None:
    many = tiny_onnx.image_network(tmp_path / "many.onnx")
    one = tiny_onnx.image_network(tmp_path / "one.onnx", batch=1)
    images = [PHOTOGRAPH[i : i + 50, i : i + 70] for i in range(0, 400, 20)]
    expected = rows(create("onnx", {**many, "output": "row"}), *images)
    np.testing.assert_allclose(
        rows(create("onnx", {**one, "output": "row"}), *images), expected, rtol=1e-5
    )


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("image_size", [16, None])
def test_an_output_with_positions_is_averaged_over_them(
    tmp_path: Path, layout: str, image_size: int | None
) -> None:
    options = tiny_onnx.image_network(tmp_path / "net.onnx", layout=layout, image_size=image_size)
    size = {} if image_size else {"image_size": 16}
    encoder = create("onnx", {**options, **size, "output": "map", "pooling": "mean"})
    numbers = FACE[:16, :16].astype("float32")[None] / 255
    axes = (2, 3) if layout == "NCHW" else (1, 2)
    numbers = numbers.transpose(0, 3, 1, 2) if layout == "NCHW" else numbers
    expected = run_onnx(options["weights"], "map", numbers).mean(axis=axes)
    assert encoder.dim == expected.shape[1] == 4
    np.testing.assert_allclose(rows(encoder, FACE[:16, :16]), expected, rtol=1e-5)


def test_the_network_is_loaded_with_the_first_image(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    encoder = create("onnx", tiny_onnx.expressions(tmp_path))
    assert encoder.dim == 6
    assert "runs on" not in caplog.text
    rows(encoder, FACE)
    assert "expressions.onnx runs on CPUExecutionProvider" in caplog.text


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="there is CUDA here"
)
def test_a_requested_device_that_is_absent_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = create("onnx", tiny_onnx.expressions(tmp_path))
    monkeypatch.setenv("ECMF_DEVICE", "cuda")
    with pytest.raises(UserError, match=r"onnxruntime runs on .* only"):
        rows(encoder, FACE)


@pytest.mark.parametrize(
    ("file", "options", "message"),
    [
        ({}, {}, r"returns 'row' \(any x 6 float32\), 'map' .*: choose one as `output`"),
        ({}, {"output": "rows"}, "there is no output 'rows'. Did you mean 'row'"),
        ({}, {"output": "map"}, "pooling: mean"),
        ({}, {"output": "row", "colour": "grey"}, "3 channels in the layout NCHW; colour: grey"),
        ({}, {"output": "row", "layout": "NHWC"}, "16 channels in the layout NHWC"),
        ({}, {"output": "row", "image_size": 32}, "leave out image_size: 32"),
        ({"image_size": None}, {"output": "row"}, "takes images of any size: set image_size"),
        ({"batch": 4}, {"output": "row"}, "a fixed batch size of 4: export it with a batch of any"),
        ({}, {"output": "row", "mean": [0.5, 0.5]}, "mean has 2 numbers, rgb images have 3"),
        ({}, {"output": "row", "std": [1.0, 0.0, 1.0]}, "std holds a 0"),
        ({}, {"outputs": "row"}, "Did you mean 'output'"),
    ],
)
def test_files_and_options_that_do_not_fit_are_refused_before_the_first_image(
    tmp_path: Path, file: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    network = tiny_onnx.image_network(tmp_path / "net.onnx", **file)
    with pytest.raises(ParamsError, match=message):
        create("onnx", {**network, **options})


def test_a_size_that_fails_in_the_network_is_refused_though_its_file_leaves_it_open(
    tmp_path: Path,
) -> None:
    options = tiny_onnx.image_network(tmp_path / "net.onnx", image_size=None)
    model = onnx.load(options["weights"])
    model.graph.node.append(onnx.helper.make_node("Add", ["map", "one_size"], ["sum"]))
    grid = np.zeros((1, 4, 8, 8), "float32")
    model.graph.initializer.append(onnx.numpy_helper.from_array(grid, "one_size"))
    sides = onnx.helper.make_tensor_value_info("sum", onnx.TensorProto.FLOAT, ["batch", 4, 8, 8])
    model.graph.output[1].CopyFrom(sides)
    path = tmp_path / "picky.onnx"
    onnx.save(model, path)
    options = {"weights": str(path), "sha256": sha256(path), "output": "sum", "pooling": "mean"}
    assert create("onnx", {**options, "image_size": 16}).dim == 4
    with pytest.raises(ParamsError, match="takes no images of 20 x 20"):
        create("onnx", {**options, "image_size": 20})


def test_absent_other_and_invalid_files_are_refused(tmp_path: Path) -> None:
    options = tiny_onnx.expressions(tmp_path)
    with pytest.raises(MissingFileError, match=r"no file 'weights/nets\.onnx'"):
        create("onnx", {**options, "weights": "weights/nets.onnx"})
    with pytest.raises(MissingFileError, match=f"set sha256: {options['sha256']}"):
        create("onnx", {**options, "sha256": ""})
    text = tmp_path / "text.onnx"
    text.write_text("no network")
    with pytest.raises(MissingFileError, match="is not an ONNX file"):
        create("onnx", {**options, "weights": str(text), "sha256": sha256(text)})


def test_weights_in_another_file_are_refused_as_no_hash_covers_them(tmp_path: Path) -> None:
    options = tiny_onnx.expressions(tmp_path)
    path = tmp_path / "two.onnx"
    model = onnx.load(options["weights"])
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    with pytest.raises(MissingFileError, match="stores its weights in other files"):
        create("onnx", {**options, "weights": str(path), "sha256": sha256(path)})


def test_a_file_named_in_a_branch_of_the_network_is_refused(tmp_path: Path) -> None:
    tensor = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[1])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    location = tensor.external_data.add()
    location.key, location.value = "location", "../../../etc/hostname"
    value = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    identity = onnx.helper.make_node("Identity", ["w"], ["y"])
    branch = onnx.helper.make_graph([identity], "branch", [], [value], initializer=[tensor])
    choice = onnx.helper.make_node("If", ["k"], ["y"], then_branch=branch, else_branch=branch)
    model = onnx.helper.make_model(onnx.helper.make_graph([choice], "all", [], [value]))
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(MissingFileError, match="stores its weights in other files"):
        read_model(tmp_path / "x.onnx")


# --- insightface ------------------------------------------------------------------------------


@pytest.mark.parametrize("takes_raw_pixels", [False, True])
def test_a_row_equals_that_of_insightface_itself(tmp_path: Path, takes_raw_pixels: bool) -> None:
    options = tiny_onnx.face_network(tmp_path / "net.onnx", takes_raw_pixels=takes_raw_pixels)
    session = onnxruntime.InferenceSession(options["model"], providers=["CPUExecutionProvider"])
    crop = cv2.resize(FACE, (112, 112))
    expected = ArcFaceONNX(options["model"], session).get_feat(crop[..., ::-1].copy())
    plain = create("insightface", {**options, "normalise": False})
    np.testing.assert_allclose(rows(plain, crop), expected, rtol=1e-4, atol=1e-4)
    scaled = rows(create("insightface", options), crop)
    np.testing.assert_allclose(scaled, expected / np.linalg.norm(expected), rtol=1e-4, atol=1e-5)


def test_every_row_has_length_1(tmp_path: Path) -> None:
    encoder = create("insightface", tiny_onnx.model_pack(tmp_path))
    values = rows(encoder, FACE, PHOTOGRAPH, PHOTOGRAPH[:40, :20])
    np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1, rtol=1e-6)


def test_the_margin_of_a_crop_can_be_trimmed(tmp_path: Path) -> None:
    options = tiny_onnx.model_pack(tmp_path)
    trimmed = rows(create("insightface", {**options, "trim": 0.1}), PHOTOGRAPH[:200, :200])
    expected = rows(create("insightface", options), PHOTOGRAPH[20:180, 20:180])
    assert np.array_equal(trimmed, expected)


def test_the_recognition_network_is_found_among_others_of_a_pack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ".insightface" / "models" / "tiny_pack"
    folder.mkdir(parents=True)
    options = tiny_onnx.model_pack(folder)
    write_tiny_scrfd(folder / "detector.onnx", PHOTOGRAPH, (slice(10, 21), slice(22, 33)))
    monkeypatch.setenv("HOME", str(tmp_path))
    encoder = create("insightface", {**options, "model": "tiny_pack"})
    assert (encoder.dim, encoder.provenance["file"]) == (9, "recogniser.onnx")
    onnx.save(onnx.load(folder / "recogniser.onnx"), folder / "second.onnx")
    with pytest.raises(MissingFileError, match=r"but has recogniser\.onnx, second\.onnx"):
        create("insightface", {**options, "model": "tiny_pack"})


def test_a_pack_that_is_not_on_this_machine_is_not_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(MissingFileError, match=r"no model pack 'buffalo_l'.*non-commercial"):
        create("insightface", {})
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_task_is_refused(tmp_path: Path) -> None:
    options = tiny_onnx.image_network(tmp_path / "net.onnx")
    renamed = {"model": options["weights"], "sha256": options["sha256"]}
    with pytest.raises(MissingFileError, match=r"net\.onnx is no face recognition network"):
        create("insightface", renamed)
    with pytest.raises(MissingFileError, match="but has none"):
        create("insightface", {"model": str(tmp_path)})
    with pytest.raises(MissingFileError, match=r"no file 'absent\.onnx'"):
        create("insightface", {"model": "absent.onnx"})
