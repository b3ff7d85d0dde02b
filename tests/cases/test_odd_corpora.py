"""Corpora as users of other projects reported them: a right result, or an error that says more.

Each test is a situation from a public bug report, from the folder to `ecmf index` and to decoding.
"""

from pathlib import Path

import numpy as np
import pytest
from filming import cut, film, number_of, tone
from PIL import Image

from ecmf.cli.index import index_corpus
from ecmf.data.manifest import Clip, read_manifest
from ecmf.decoding.clip_decoder import ClipDecoder, DecodedClip
from ecmf.errors import CorpusError
from ecmf.params import DecodeVideo
from ecmf.storage.jpeg import decode_jpeg

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a corpus in a project with the parameters of this one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    corpus = Path("data/raw/mine")
    corpus.mkdir(parents=True)
    return corpus


def index(folder: Path, *lines: str, **options: bool) -> list[Clip]:
    (folder / "clips.csv").write_text("\n".join([*lines, ""]), encoding="utf-8")
    index_corpus("folder", folder, "mine", **options)
    return read_manifest(Path("data/manifests/mine.csv"))


def decode(clip: Clip, decoder: str = "decord") -> DecodedClip:
    return ClipDecoder(DecodeVideo(decoder=decoder, frames=99))(clip)


def shown(decoded: DecodedClip) -> list[int]:
    return [number_of(decode_jpeg(picture)) for picture in decoded.frames.values]


def test_one_recording_of_two_people_in_training_and_in_test_is_refused(folder: Path) -> None:
    film(folder / "m.mp4", 5)
    rows = ["m_leonard,m.mp4,leonard,train,joy", "m_penny,m.mp4,penny,test,sad"]
    with pytest.raises(CorpusError, match=r"'m_leonard' \(train\) and 'm_penny' \(test\) have the"):
        index(folder, "clip_id,video,speaker,split,label", *rows)


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        (["a,fine,joy", 'b,"I said no,sad', "c,I agree,joy", 'd,yes",sad'], "on line 3 closes on"),
        (["a,fine,joy", 'b,"I said no,sad', "c,ok,joy"], "line 3: a quote that opens there is not"),
        (['b,"I said no,sad', *(f"c{n},line {n},joy" for n in range(9000))], "line 2: a field is"),
    ],
)
def test_a_quote_that_nothing_closes_swallows_no_line(
    folder: Path, lines: list[str], place: str
) -> None:
    with pytest.raises(CorpusError, match=place):
        index(folder, "clip_id,transcript,label", *lines)


def test_a_corpus_in_the_cache_of_a_hub_is_read_with_its_links(folder: Path) -> None:
    blobs = Path("hub/blobs")
    blobs.mkdir(parents=True)
    for number, name in enumerate(("0a", "0b")):
        film(Path(f"{number}.mp4"), 5 + number).rename(blobs / name)
        (folder / f"c{number}.mp4").symlink_to(Path("../../..") / blobs / name)
    lines = ["clip_id,video,label", "c0,c0.mp4,joy", "c1,c1.mp4,sad"]
    with pytest.raises(CorpusError, match=r"leads out of .* index with --follow-links"):
        index(folder, *lines)
    clips = index(folder, *lines, follow_links=True)
    assert [shown(decode(clip)) for clip in clips] == [list(range(5)), list(range(6))]


def test_a_clip_that_was_cut_off_and_then_mended_is_whole(folder: Path) -> None:
    whole = film(Path("whole.mp4"), 20)
    film(folder / "a.mp4", 5)
    cut(whole, folder / "b.mp4", 0.6)
    lines = ["clip_id,video,label", "a,a.mp4,joy", "b,b.mp4,sad"]
    assert decode(index(folder, *lines)[1]).frames.state in ("flagged", "failed")
    (folder / "b.mp4").write_bytes(whole.read_bytes())
    with pytest.raises(CorpusError, match="'b': its files have changed"):
        index(folder, *lines, check=True)
    assert shown(decode(index(folder, *lines)[1])) == list(range(20))


def test_sound_whose_header_could_not_be_told_its_length_is_whole(folder: Path) -> None:
    film(folder / "right.wav", 0, sound=tone(1.0)[None], sound_codec="pcm_s16le")
    content = (folder / "right.wav").read_bytes()
    length = content.index(b"data") + 4
    for name, claim in (("piped", b"\xff" * 4), ("zero", b"\0" * 4)):
        (folder / f"{name}.wav").write_bytes(content[:length] + claim + content[length + 4 :])
    rows = [f"{name},{name}.wav,joy,{name}" for name in ("right", "piped", "zero")]
    for clip in index(folder, "clip_id,audio,label,speaker", *rows):
        audio = decode(clip).audio
        assert audio.state == "whole"
        np.testing.assert_array_equal(audio.values, tone(1.0))


def test_a_corpus_downloaded_without_its_recordings_is_told_so_once(folder: Path) -> None:
    rows = [f"c{number},c{number}.wav,joy" for number in range(300)]
    for number in range(300):
        (folder / f"c{number}.wav").write_text(
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{number:064}\nsize 7000\n"
        )
    with pytest.raises(CorpusError, match="git lfs pull") as error:
        index(folder, "clip_id,audio,label", *rows)
    assert str(error.value).count("\n") < 6


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_recordings_of_browsers_old_cameras_and_photographs_are_read(
    folder: Path, decoder: str
) -> None:
    stamps = [0, 1, 2, 4, 7, 8, 9, 12, 13]
    live = {
        "width": 160,
        "height": 120,
        "codec": "libvpx",
        "b_frames": 0,
        "sound_codec": "libopus",
        "rate": 48_000,
    }
    film(folder / "recorder.webm", 9, stamps=stamps, container={"live": "1"},
         sound=tone(0.5, 48_000)[None], **live)  # fmt: skip
    film(folder / "divx.avi", 9, codec="mpeg4", sound=tone(0.4)[None], sound_codec="pcm_s16le")
    Image.fromarray(np.full((64, 64, 3), 99, "uint8")).save(folder / "still.jpg")
    rows = [f"{name},{name},joy" for name in ("recorder.webm", "divx.avi", "still.jpg")]
    clips = index(folder, "clip_id,video,label", *rows)
    decoded = [decode(clip, decoder) for clip in clips]
    for name, clip in zip(("webm", "avi", "jpg"), decoded, strict=True):
        if decoder == "decord" and clip.frames.state == "failed":
            assert "`decoder: pyav` may read it" in clip.frames.reason, name
        else:
            assert clip.frames.state == "whole", name
            times = stamps if name == "webm" else range(len(clip.frames))
            assert len(clip.frames) == (1 if name == "jpg" else 9), name
            assert np.rint(clip.frames.times * 25).tolist() == list(times), name
            assert name == "jpg" or shown(clip) == list(range(9)), name
    assert [clip.audio.state for clip in decoded] == ["whole", "whole", "empty"]


def test_cells_that_a_script_wrote_as_nan_are_no_class_and_no_text(folder: Path) -> None:
    lines = ["clip_id,transcript,label", "a,hello,joy", "b,nan,sad", "c,None,joy", "d,bye,nan"]
    with pytest.raises(CorpusError) as error:
        index(folder, *lines)
    assert str(error.value).count("has no video, no audio and no transcript") == 2
    assert "'d': label is 'nan', as programs write an empty cell" in str(error.value)
