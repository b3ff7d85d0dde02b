"""Functions as encoders: their inputs, options, times and mistakes."""

import re
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
from pydantic import Field

import ecmf.encoders.image
from ecmf import registry
from ecmf.encoding.audio_feature import audio_feature
from ecmf.encoding.feature import feature
from ecmf.encoding.store_encoder import IMAGES, ConfiguredEncoder
from ecmf.errors import ClipError, ParamsError, PluginError
from ecmf.execution import code_fingerprint
from ecmf.media import SAMPLE_RATE, Audio, Images, Text
from ecmf.params import ImageChoice

CONTRIBUTING = Path(__file__).resolve().parents[2] / "CONTRIBUTING.md"
(MEAN_COLOUR,) = re.findall(r"```python\n(.*?)```", CONTRIBUTING.read_text(), re.DOTALL)


def images(*greys):
    pictures = [np.full((4, 6, 3), grey, "uint8") for grey in greys]
    return Images("clip", pictures, np.arange(len(greys)) / 2)


def encoder_of(function, **options):
    return function.Encoder(function.Options.model_validate(options))


@feature(dim=2)
def corner(
    image, *, scale: Annotated[float, Field(gt=0, description="Factor.")] = 1.0, at: int = 0
):
    return image[at, at, :2] * scale


@feature(dim=1)
def letters(text):
    return np.array([len(text)])


def test_a_function_is_called_once_per_image_with_the_options():
    (features,) = encoder_of(corner, scale=0.5)([images(10, 20)])
    assert features.values.tolist() == [[5, 5], [10, 10]]
    assert features.values.dtype == np.float32
    assert features.times.tolist() == [0.0, 0.5]


def test_a_text_is_one_row_at_time_zero_and_an_empty_text_has_none():
    long, empty = encoder_of(letters)([Text("a", "four"), Text("b", " \n")])
    assert (long.values.tolist(), long.times.tolist()) == ([[4]], [0])
    assert empty.values.shape == (0, 1) and empty.times.shape == (0,)


def loudness(seconds, **windows):
    @audio_feature(dim=2, **windows)
    def measure(waveform):
        return np.array([len(waveform), abs(waveform).max()])

    samples = (np.sin(np.arange(round(seconds * SAMPLE_RATE))) * 16_384).astype("int16")
    (features,) = encoder_of(measure)([Audio("clip", samples)])
    return features


def test_a_waveform_is_given_whole_at_full_scale_one():
    features = loudness(1.5)
    assert features.values[0, 0] == 1.5 * SAMPLE_RATE
    assert features.values[0, 1] == pytest.approx(0.5, abs=1e-3)
    assert features.times.tolist() == [0.0]


def test_windows_have_one_length_and_the_time_of_their_centre_and_the_last_ends_with_the_clip():
    features = loudness(2.5, window_seconds=1.0)
    assert features.values[:, 0].tolist() == [SAMPLE_RATE] * 3
    assert features.times.tolist() == [0.5, 1.5, 2.0]
    assert loudness(0.5, window_seconds=1.0).times.tolist() == [0.25]
    assert loudness(2.0, window_seconds=1.0).times.tolist() == [0.5, 1.5]


def test_a_decorated_function_is_still_called_as_it_is():
    assert letters("four").tolist() == [4]


def test_a_row_of_another_shape_names_the_function_and_both_shapes():
    @feature(dim=3)
    def wide(image):
        return image

    @feature(dim=1)
    def words(text):
        return np.array([text])

    expected = (
        r"wide returned uint8 of shape \(4, 6, 3\), not numbers of shape \(3,\).*test_feature"
    )
    with pytest.raises(PluginError, match=expected):
        encoder_of(wide)([images(1)])
    with pytest.raises(PluginError, match=r"words returned <U1 of shape \(1,\), not numbers"):
        encoder_of(words)([Text("a", "x")])


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_a_row_that_is_not_finite_fails_the_clip(value):
    @feature(dim=1)
    def broken(text):
        return np.array([value])

    with pytest.raises(ClipError, match="broken returned NaN or infinity"):
        encoder_of(broken)([Text("a", "x")])


def test_an_unknown_option_and_a_wrong_value_are_refused(mean_colour):
    with pytest.raises(ParamsError, match=r"powr: .*Did you mean 'power'"):
        registry.build("encoders.image", "Encoder", "mean_colour", {"powr": 2})
    with pytest.raises(ParamsError, match="power: Input should be a valid integer"):
        registry.build("encoders.image", "Encoder", "mean_colour", {"power": "x"})


def test_the_description_of_an_option_is_that_of_its_annotation():
    assert corner.Options.model_fields["scale"].description == "Factor."


def test_a_function_without_one_input_or_with_options_before_the_star_is_refused():
    with pytest.raises(PluginError, match=r"none\(\) in .*expected one input"):

        @feature(dim=1)
        def none(): ...

    with pytest.raises(PluginError, match=r"two\(image, bins=8\) in .*after a star"):

        @feature(dim=1)
        def two(image, bins=8): ...

    with pytest.raises(PluginError, match=r"option 'bins' of bare in .*needs a type and a default"):

        @feature(dim=1)
        def bare(image, *, bins=8): ...


def test_a_function_of_another_medium_is_pointed_to_the_other_decorator():
    with pytest.raises(PluginError, match=r"with ecmf\.encoding\.audio_feature"):
        encoder_of(letters)([Audio("clip", np.zeros(10, "int16"))])

    @audio_feature(dim=1)
    def heard(waveform): ...

    with pytest.raises(PluginError, match=r"not Text: decorate .* ecmf\.encoding\.feature"):
        encoder_of(heard)([Text("a", "x")])
    with pytest.raises(PluginError, match=r"window_seconds is 0\.01: make it at least 0\.1"):
        audio_feature(dim=1, window_seconds=0.01)


# --- as a file in the folder of a family ------------------------------------------------------


@pytest.fixture
def family(tmp_path, monkeypatch):
    """A folder whose files are image encoders too."""
    folder = tmp_path / "image"
    folder.mkdir()
    path = [*ecmf.encoders.image.__path__, str(folder)]
    monkeypatch.setattr(ecmf.encoders.image, "__path__", path)
    yield folder
    for name in ("mean_colour", "nothing"):
        sys.modules.pop(f"ecmf.encoders.image.{name}", None)
        vars(ecmf.encoders.image).pop(name, None)


@pytest.fixture
def mean_colour(family):
    (family / "mean_colour.py").write_text(MEAN_COLOUR)
    return ImageChoice.model_validate({"encoder": "mean_colour", "power": 2})


def test_a_file_with_a_function_is_an_encoder_by_its_name(mean_colour):
    configured = ConfiguredEncoder(IMAGES, mean_colour)
    assert configured.layout.shape == (3,)
    (features,) = configured.encoder([images(3)])
    assert features.values.tolist() == [[9, 9, 9]]
    assert configured.provenance["options"] == {"power": 2}
    assert configured.provenance["function"] == "mean_colour"


def test_a_file_with_neither_a_class_nor_a_function_of_its_name_is_an_error(family):
    (family / "nothing.py").write_text("VALUE = 1\n")
    with pytest.raises(PluginError, match=r"nothing\.py has no class Encoder, nor a function"):
        registry.build("encoders.image", "Encoder", "nothing", {})


def test_the_example_is_hashed_with_the_code_that_calls_it_and_records_versions():
    file = code_fingerprint.file_of("ecmf.encoders.image.example")
    closure = {path.stem for path in code_fingerprint.import_closure(file)}
    assert "feature" in closure and "descriptors" not in closure
    provenance = registry.build("encoders.image", "Encoder", "example", {}).provenance
    assert {"function", "numpy"} == set(provenance)


def test_lists_hide_the_example_but_it_can_be_chosen():
    assert "example" not in registry.names("encoders.image")
    assert registry.check_name("encoders.image", "example") == "example"
    with pytest.raises(ParamsError, match="no 'example' in decoders: choose one of decord, pyav"):
        registry.check_name("decoders", "example")
