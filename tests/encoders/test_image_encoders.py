"""The contract of every image encoder, tested on all of them; then tests of single encoders."""

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
import skimage.data
import tiny_onnx
import tiny_vision
import torch
from numpy.typing import NDArray
from transformers import (
    AutoImageProcessor,
    AutoModel,
    BeitModel,
    ChineseCLIPModel,
    CLIPModel,
    CLIPVisionModelWithProjection,
    MetaClip2Model,
    SiglipModel,
    VideoMAEForVideoClassification,
)
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from ecmf import registry
from ecmf.encoding.base import Encoder
from ecmf.encoding.batching import encode
from ecmf.errors import MissingFileError, ParamsError
from ecmf.media import Images, Seconds
from ecmf.storage.files import sha256

FAMILY = "encoders.image"
CLIPS = {"long": 5, "short": 2, "single": 1, "none": 0}
TIMES: dict[str, Callable[[Seconds], Seconds]] = {
    "motion": lambda times: times[1:],
    "videomae": lambda times: (times[:1] + times[-1:]) / 2,
}
"""Times of a clip's images -> times of its rows; other encoders have one row per image."""


def imported(folder: Path) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    rows = {clip_id: rng.normal(size=(count, 6)) for clip_id, count in CLIPS.items() if count}
    path = folder / "features.npz"
    np.savez(path, allow_pickle=False, **rows)
    return {"path": str(path), "sha256": sha256(path)}


OPTIONS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "imported": imported,
    "huggingface": partial(tiny_vision.save, "clip"),
    "videomae": partial(tiny_vision.save, "videomae"),
    "onnx": tiny_onnx.expressions,
    "insightface": tiny_onnx.model_pack,
}
"""Encoders with required options -> a function that writes their weights and returns options."""


def make_clip(clip_id: str, count: int, width: int = 112, height: int = 112) -> Images:
    """Views of a photograph, each a little further to the right than the previous one."""
    photograph: NDArray[np.uint8] = skimage.data.astronaut()
    seed = int(hashlib.sha256(clip_id.encode()).hexdigest(), 16)
    left, top = np.random.default_rng(seed).integers(20, 200, 2)
    images = [
        photograph[top : top + height, left + 3 * i : left + 3 * i + width] for i in range(count)
    ]
    return Images(clip_id, images, np.arange(count) / 4 + 0.125)


@pytest.fixture(params=[*registry.names(FAMILY), registry.EXAMPLE])
def plugin(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, Any]]:
    """Every image encoder, with its required options."""
    name: str = request.param
    return name, OPTIONS[name](tmp_path) if name in OPTIONS else {}


@pytest.fixture
def encoder(plugin: tuple[str, dict[str, Any]]) -> Encoder:
    encoder: Encoder = registry.build(FAMILY, "Encoder", *plugin)
    return encoder


def test_every_row_is_finite_of_the_width_of_the_encoder_and_has_its_time(
    encoder: Encoder, plugin: tuple[str, dict[str, Any]]
) -> None:
    for clip_id, count in CLIPS.items():
        clip = make_clip(clip_id, count)
        (features,) = encode(encoder, [clip])
        times = TIMES.get(plugin[0], lambda times: times)(clip.times)
        assert features.values.shape == (len(times), encoder.dim)
        assert features.values.dtype == np.float32
        assert np.isfinite(features.values).all()
        assert features.times.shape == times.shape
        if encoder.reads_media:
            assert features.times.tolist() == times.tolist()


def test_a_clip_has_the_same_features_to_the_bit_alone_and_among_others(encoder: Encoder) -> None:
    clips = [make_clip(clip_id, count) for clip_id, count in CLIPS.items()]
    clips.insert(1, make_clip("long", 3, width=80, height=150))
    for clip, among_others in zip(clips, encode(encoder, clips), strict=True):
        (alone,) = encode(encoder, [clip])
        assert alone.values.tobytes() == among_others.values.tobytes()


def test_two_encoders_with_the_same_options_agree_to_the_bit(
    encoder: Encoder, plugin: tuple[str, dict[str, Any]]
) -> None:
    other: Encoder = registry.build(FAMILY, "Encoder", *plugin)
    clip = make_clip("long", 5)
    assert encode(encoder, [clip])[0].values.tobytes() == encode(other, [clip])[0].values.tobytes()
    assert encoder.provenance == other.provenance != {}


def test_images_of_any_size_are_encoded(encoder: Encoder) -> None:
    for width, height in ((320, 240), (90, 160), (17, 23)):
        (features,) = encode(encoder, [make_clip("long", 5, width, height)])
        assert features.values.shape[1] == encoder.dim
        assert np.isfinite(features.values).all()


def test_provenance_can_be_stored_as_json(encoder: Encoder) -> None:
    assert json.loads(json.dumps(encoder.provenance)) == encoder.provenance != {}


def rows_of(name: str, **options: Any) -> Callable[..., NDArray[np.float32]]:
    encoder: Encoder = registry.build(FAMILY, "Encoder", name, options)
    return lambda *images: encoder([Images("x", images, np.arange(len(images)) * 1.0)])[0].values


def test_gradients_depend_on_the_direction_of_edges_not_on_brightness() -> None:
    gradients = rows_of("gradient_histogram", side=32, cell=16, orientations=4)
    upright = np.zeros((64, 64, 3), "uint8")
    upright[:, ::16] = 200
    lying = upright.transpose(1, 0, 2).copy()
    across, down = gradients(upright)[0], gradients(lying)[0]
    assert across @ down < 0.1 * (across @ across)
    assert np.allclose(gradients(upright // 4)[0], across, atol=0.02)


def test_trimmed_margins_have_no_effect() -> None:
    image = make_clip("long", 1, 120, 120).images[0]
    framed = cv2.copyMakeBorder(image, 20, 20, 20, 20, cv2.BORDER_CONSTANT, value=(255, 0, 0))
    trimmed = rows_of("gradient_histogram", trim=0.125)
    assert np.array_equal(trimmed(framed), rows_of("gradient_histogram")(image))


def test_colours_are_counted_wherever_they_are() -> None:
    colours = rows_of("colour_histogram")
    image = make_clip("long", 1).images[0]
    (row,) = colours(image)
    assert np.array_equal(colours(image[::-1, ::-1].copy())[0], row)
    assert np.isclose(np.linalg.norm(row), 1)
    red, blue = np.zeros((2, 8, 8, 3), "uint8")
    red[..., 0], blue[..., 2] = 255, 255
    assert colours(red)[0] @ colours(blue)[0] == 0


def test_motion_has_a_place_and_a_direction() -> None:
    motion = rows_of("motion", side=64, cells=2)
    grain = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype("uint8")
    before = cv2.normalize(cv2.GaussianBlur(grain, (0, 0), 3), np.empty(0), 0, 255, cv2.NORM_MINMAX)
    after = before.copy()
    after[:32, 34:] = before[:32, 32:-2]
    still, moved = motion(before, before, after).reshape(2, 2, 2, 4)
    assert np.abs(still).max() < 1e-3
    change, length, right, down = np.moveaxis(moved, -1, 0)
    assert change.argmax() == length.argmax() == right.argmax() == 1
    assert 1 / 64 < right[0, 1] < 3 / 64
    assert abs(down[0, 1]) < 0.5 / 64


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gradient_histogram", {"side": 60}, "side 60 is no multiple of cell \\* block = 16"),
        ("motion", {"cells": 5}, "side 64 is no multiple of cells 5"),
        ("colour_histogram", {"hue": 3}, "Did you mean 'hues'"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParamsError, match=message):
        registry.build(FAMILY, "Encoder", name, options)


# --- networks with pretrained weights ---------------------------------------------------------

POOLED_VECTORS: dict[str, Callable[[Path, torch.Tensor], torch.Tensor]] = {
    "clip": lambda folder, pixels: (
        CLIPModel.from_pretrained(folder).get_image_features(pixels).pooler_output
    ),
    "metaclip_2": lambda folder, pixels: (
        MetaClip2Model.from_pretrained(folder).get_image_features(pixels).pooler_output
    ),
    "chinese_clip": lambda folder, pixels: (
        ChineseCLIPModel.from_pretrained(folder).get_image_features(pixels).pooler_output
    ),
    "siglip": lambda folder, pixels: (
        SiglipModel.from_pretrained(folder).get_image_features(pixels).pooler_output
    ),
    "dinov2": lambda folder, pixels: states(folder, pixels).last_hidden_state[:, 0],
    "dinov2_with_registers": lambda folder, pixels: states(folder, pixels).last_hidden_state[:, 0],
    "vit": lambda folder, pixels: states(folder, pixels).last_hidden_state[:, 0],
    "deit": lambda folder, pixels: states(folder, pixels).last_hidden_state[:, 0],
    "beit": lambda folder, pixels: states(folder, pixels).pooler_output,
    "resnet": lambda folder, pixels: states(folder, pixels).pooler_output[:, :, 0, 0],
}
"""The vector that a network's authors use for an image, by plain transformers calls."""

FIRST_PATCH = {
    "clip": 1,
    "metaclip_2": 1,
    "chinese_clip": 1,
    "siglip": 0,
    "dinov2": 1,
    "dinov2_with_registers": 1 + tiny_vision.REGISTERS,
    "vit": 1,
    "deit": 2,
    "beit": 1,
}


@torch.inference_mode()
def states(folder: Path, pixels: torch.Tensor) -> Any:
    """Outputs of a plain transformers call, with hidden states."""
    network = AutoModel.from_pretrained(folder)
    network = getattr(network, "vision_model", network)
    return network(pixel_values=pixels, output_hidden_states=True)


def preprocess(folder: Path, clip: Images) -> torch.Tensor:
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    pixels: torch.Tensor = processor(
        [PIL.Image.fromarray(image) for image in clip.images], return_tensors="pt"
    ).pixel_values
    return pixels


def assert_same(rows: NDArray[np.float32], plain: torch.Tensor) -> None:
    expected = plain.detach().numpy()
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(expected, axis=1)
    assert ((rows * expected).sum(axis=1) / lengths).min() >= 0.9999
    np.testing.assert_allclose(rows, expected, rtol=1e-4, atol=1e-5)


def huggingface(folder: Path, name: str, **options: Any) -> Encoder:
    """Write a tiny network into an empty folder and build its encoder."""
    weights = tiny_vision.save(name, folder)
    encoder: Encoder = registry.build(FAMILY, "Encoder", "huggingface", {**weights, **options})
    return encoder


@pytest.mark.parametrize("name", POOLED_VECTORS)
def test_rows_equal_those_of_a_plain_call(name: str, tmp_path: Path) -> None:
    encoder, clip = huggingface(tmp_path, name), make_clip("long", 5, 50, 40)
    (features,) = encode(encoder, [clip])
    with torch.inference_mode():
        plain = POOLED_VECTORS[name](tmp_path, preprocess(tmp_path, clip))
    assert_same(features.values, plain)
    assert features.values.std(axis=0).max() > 1e-3, "all images have the same features"


@pytest.mark.parametrize("name", FIRST_PATCH)
def test_patches_are_averaged_without_the_tokens_before_them(name: str, tmp_path: Path) -> None:
    encoder, clip = huggingface(tmp_path, name, pooling="patches"), make_clip("long", 5)
    tokens = states(tmp_path, preprocess(tmp_path, clip)).last_hidden_state
    assert_same(encode(encoder, [clip])[0].values, tokens[:, FIRST_PATCH[name] :].mean(dim=1))


@pytest.mark.parametrize("name", [name for name, first in FIRST_PATCH.items() if first])
def test_the_class_token_is_the_first(name: str, tmp_path: Path) -> None:
    encoder, clip = huggingface(tmp_path, name, pooling="cls"), make_clip("long", 5)
    tokens = states(tmp_path, preprocess(tmp_path, clip)).last_hidden_state
    assert_same(encode(encoder, [clip])[0].values, tokens[:, 0])


@pytest.mark.parametrize("name", ["vit", "clip"])
def test_layers_are_numbered_as_in_transformers_with_the_last_one_normalised(
    name: str, tmp_path: Path
) -> None:
    encoder = huggingface(tmp_path, name, pooling="cls", layers=[0, -2, -1], combine="mean")
    clip = make_clip("long", 5)
    plain = states(tmp_path, preprocess(tmp_path, clip))
    first, *_, before, _ = plain.hidden_states
    chosen = (first + before + plain.last_hidden_state) / 3
    assert_same(encode(encoder, [clip])[0].values, chosen[:, 0])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vit", {"layers": [-2]}, r"pooled reads the last layer, not \[-2\]"),
        ("vit", {"layers": [4], "pooling": "cls"}, r"layers \[4\] do not exist: .* -4 to 3"),
        ("siglip", {"pooling": "cls"}, "has no class token: choose pooling: patches"),
        ("resnet", {"pooling": "cls"}, "not one per patch: choose pooling: pooled"),
        ("vit_mae", {}, "masks parts of an image at random"),
        ("videomae", {}, "'videomae', which does not take such images alone"),
    ],
)
def test_options_that_a_network_does_not_support_are_refused_before_any_clip(
    name: str, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ParamsError, match=message):
        huggingface(tmp_path, name, **options)


def test_a_processor_of_another_size_is_refused_before_any_clip(tmp_path: Path) -> None:
    tiny_vision.save("vit", tmp_path)
    ViTImageProcessorPil(size={"height": 48, "width": 48}).save_pretrained(tmp_path)
    with pytest.raises(ParamsError, match=r"'vit', which does not take such .*48"):
        registry.build(FAMILY, "Encoder", "huggingface", tiny_vision.options(tmp_path))


@pytest.mark.parametrize("name", ["clip", "metaclip_2", "siglip"])
def test_the_text_part_of_a_network_is_not_loaded(name: str, tmp_path: Path) -> None:
    network: Any = huggingface(tmp_path, name)
    encode(network, [make_clip("single", 1)])
    assert not [key for key, _ in network._network.named_parameters() if "text" in key]


def test_a_saved_image_part_alone_has_the_same_rows(tmp_path: Path) -> None:
    whole, clip = huggingface(tmp_path / "whole", "clip"), make_clip("long", 5)
    part = CLIPVisionModelWithProjection.from_pretrained(
        tmp_path / "whole", projection_dim=tiny_vision.PROJECTED
    )
    part.save_pretrained(tmp_path / "part")
    tiny_vision.NETWORKS["clip"]()[1].save_pretrained(tmp_path / "part")
    weights = tiny_vision.options(tmp_path / "part")
    alone: Encoder = registry.build(FAMILY, "Encoder", "huggingface", weights)
    assert encode(alone, [clip])[0].values.tobytes() == encode(whole, [clip])[0].values.tobytes()


def test_a_vector_with_untrained_weights_is_refused(tmp_path: Path) -> None:
    tiny_vision.save("beit", tmp_path)
    BeitModel.from_pretrained(tmp_path, add_pooling_layer=False).save_pretrained(tmp_path)
    weights = tiny_vision.options(tmp_path)
    clip = make_clip("single", 1)
    with pytest.raises(MissingFileError, match=r"lacks 2 weights of BeitModel .*pooler"):
        encode(registry.build(FAMILY, "Encoder", "huggingface", weights), [clip])
    patches = registry.build(FAMILY, "Encoder", "huggingface", {**weights, "pooling": "patches"})
    assert np.isfinite(encode(patches, [clip])[0].values).all()


@pytest.mark.parametrize(
    ("plugin", "precision", "stored"),
    [
        ("huggingface", "bfloat16", np.float32),
        ("huggingface", "float16", np.float16),
        ("videomae", "bfloat16", np.float32),
        ("videomae", "float16", np.float16),
    ],
)
def test_half_precision_is_close_to_single_precision(
    plugin: str, precision: str, stored: type, tmp_path: Path
) -> None:
    weights, clip = OPTIONS[plugin](tmp_path), make_clip("long", 5)
    (whole,) = encode(registry.build(FAMILY, "Encoder", plugin, weights), [clip])
    half = registry.build(FAMILY, "Encoder", plugin, {**weights, "precision": precision})
    (rows,) = encode(half, [clip])
    assert half.dtype == rows.values.dtype == stored
    a, b = whole.values.astype("float64"), rows.values.astype("float64")
    cosines = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert 0.99 < cosines.min() < 1 - 1e-12


@pytest.mark.parametrize("plugin", ["huggingface", "videomae"])
def test_images_preprocessed_in_threads_equal_those_one_by_one(plugin: str, tmp_path: Path) -> None:
    encoder = registry.build(FAMILY, "Encoder", plugin, OPTIONS[plugin](tmp_path))
    clips = [make_clip(str(number), 4, 60 + number, 50) for number in range(40)]
    with ThreadPoolExecutor(8) as threads:
        for clip, there in zip(clips, threads.map(encoder.split, clips), strict=True):
            for one_by_one, chunk in zip(encoder.split(clip), there, strict=True):
                pixels = one_by_one.inputs["pixel_values"]
                assert pixels.dtype == np.float32
                assert pixels.tobytes() == chunk.inputs["pixel_values"].tobytes()


def test_an_image_three_pixels_high_is_not_read_as_three_channels(tmp_path: Path) -> None:
    encoder = huggingface(tmp_path, "vit")
    thin = np.arange(3 * 40 * 3, dtype=np.uint8).reshape(3, 40, 3)
    upright = np.ascontiguousarray(thin.transpose(1, 0, 2))
    pixels = [encoder.split(Images("x", [i], np.zeros(1)))[0] for i in (thin, upright)]  # type: ignore[attr-defined]
    flat, tall = (chunk.inputs["pixel_values"] for chunk in pixels)
    np.testing.assert_allclose(flat, tall.transpose(0, 2, 1), atol=1e-5)


def videomae(folder: Path, **options: Any) -> Encoder:
    weights = tiny_vision.save("videomae", folder)
    encoder: Encoder = registry.build(FAMILY, "Encoder", "videomae", {**weights, **options})
    return encoder


@torch.inference_mode()
def plain_videomae(folder: Path, clip: Images) -> Any:
    """Outputs of a plain call for as many images as the network takes."""
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    images = [PIL.Image.fromarray(image) for image in clip.images]
    pixels = processor(images, return_tensors="pt").pixel_values
    network = VideoMAEForVideoClassification.from_pretrained(folder).videomae
    return network(pixels, output_hidden_states=True)


def test_the_row_of_a_video_equals_that_of_a_plain_call(tmp_path: Path) -> None:
    encoder, clip = videomae(tmp_path), make_clip("long", tiny_vision.FRAMES)
    (features,) = encode(encoder, [clip])
    assert_same(features.values, plain_videomae(tmp_path, clip).last_hidden_state.mean(dim=1))


def test_the_row_of_a_video_can_use_other_layers(tmp_path: Path) -> None:
    encoder = videomae(tmp_path, layers=[-3, -1])
    clip = make_clip("long", tiny_vision.FRAMES)
    plain = plain_videomae(tmp_path, clip)
    tokens = plain.hidden_states[-3] + plain.last_hidden_state
    assert_same(encode(encoder, [clip])[0].values, tokens.mean(dim=1))


@pytest.mark.parametrize(
    ("times", "places"),
    [
        (np.arange(6) * 1.0, [0, 1, 2, 3, 4, 5]),
        (np.arange(11) * 0.2, [0, 2, 4, 6, 8, 10]),
        (np.arange(3) + 0.5, [0, 0, 1, 1, 2, 2]),
        (np.array([7.0]), [0, 0, 0, 0, 0, 0]),
        (np.array([0, 0.1, 0.2, 0.3, 0.4, 5.0]), [0, 4, 4, 5, 5, 5]),
    ],
    ids=["as many", "more", "fewer", "one", "a gap"],
)
def test_images_are_selected_evenly_in_time(
    times: Seconds, places: list[int], tmp_path: Path
) -> None:
    encoder, clip = videomae(tmp_path), make_clip("long", len(times))
    (features,) = encode(encoder, [Images("a", clip.images, times)])
    chosen = Images("b", [clip.images[place] for place in places], np.zeros(len(places)))
    assert_same(features.values, plain_videomae(tmp_path, chosen).last_hidden_state.mean(dim=1))
    assert features.times.tolist() == [(times[0] + times[-1]) / 2]


def test_videomae_refuses_a_network_of_single_images(tmp_path: Path) -> None:
    weights = tiny_vision.save("vit", tmp_path)
    with pytest.raises(ParamsError, match="'vit', not 'videomae': use the encoder huggingface"):
        registry.build(FAMILY, "Encoder", "videomae", weights)


def test_videomae_refuses_a_processor_of_single_images(tmp_path: Path) -> None:
    tiny_vision.save("videomae", tmp_path)
    ViTImageProcessorPil(size=tiny_vision.SQUARE).save_pretrained(tmp_path)
    with pytest.raises(MissingFileError, match=r"makes \(3, 32, 32\) of a clip, .* \(6, 3, 32, 32"):
        registry.build(FAMILY, "Encoder", "videomae", tiny_vision.options(tmp_path))


def test_videomae_refuses_layers_it_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"layers \[-5\] do not exist"):
        videomae(tmp_path, layers=[-5])
