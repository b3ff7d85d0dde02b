"""A media file is read alone: no file or address that it names is opened."""

import shutil
import socket
from pathlib import Path

import pytest
from clip_reasons import failure
from filming import film, number_of, numbered
from PIL import Image

from ecmf.data.manifest import Clip
from ecmf.decoding.clip_decoder import ClipDecoder, DecodedClip
from ecmf.decoding.second_reading import SecondReading, StoredClip
from ecmf.errors import ClipError
from ecmf.params import DecodeVideo
from ecmf.storage.jpeg import decode_jpeg

HLS = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXTINF:2.0,\n{}\n#EXT-X-ENDLIST\n"
DASH = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT2S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011">'
    '<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1" '
    'codecs="avc1"><BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>'
)
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns={}\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
CONCAT = "ffconcat version 1.0\nfile {}\n"

LISTS = {
    "a.m3u8": HLS, "hls.mp4": HLS, "a.ffconcat": CONCAT, "concat.mp4": CONCAT,
    "a.mpd": DASH, "a.sdp": SDP,
}  # fmt: skip


def decode(path: Path | str, decoder: str = "pyav") -> DecodedClip:
    return ClipDecoder(DecodeVideo(decoder=decoder))(Clip("clip", video=str(path)))


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A good video outside the corpus."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "corpus").mkdir()
    return film(tmp_path / "outside" / "secret.ts", 20)


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_other_files_is_refused_and_none_of_them_is_read(
    tmp_path: Path, secret: Path, name: str, decoder: str
) -> None:
    for target in (str(secret), "../outside/secret.ts", "secret.ts"):
        listing = tmp_path / "corpus" / name
        shutil.copy(secret, tmp_path / "corpus" / "secret.ts")
        listing.write_text(LISTS[name].format(target))
        decoded = decode(listing, decoder)
        assert (decoded.frames.state, decoded.audio.state) == ("failed", "failed")
        refused = "is not read, because such a file may name other files"
        assert refused in failure(decoded) or "not a media file, or cut off" in failure(decoded)


def test_an_address_in_a_playlist_is_not_asked(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        (tmp_path / "a.m3u8").write_text(HLS.format(address))
        assert failure(decode(tmp_path / "a.m3u8"))
        with pytest.raises(TimeoutError):
            server.accept()


def test_a_clip_that_became_a_playlist_is_not_cropped_from_another_file(
    tmp_path: Path, secret: Path
) -> None:
    (tmp_path / "a.m3u8").write_text(HLS.format(secret))
    reading = SecondReading("pyav", {}, 16)
    stored = StoredClip(Clip("a", video=str(tmp_path / "a.m3u8")), decode(secret).frames.times)
    with pytest.raises(ClipError, match=r"a.m3u8: its format, hls, is not read"):
        reading(stored, lambda image: image)


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_a_name_like_that_of_a_sequence_is_the_name_of_one_file(
    tmp_path: Path, decoder: str
) -> None:
    for name, number in (("%d.jpg", 5), ("1.jpg", 7)):
        Image.fromarray(numbered(number)).save(tmp_path / name)
    pictures = decode(tmp_path / "%d.jpg", decoder).frames.values
    assert [number_of(decode_jpeg(file)) for file in pictures] in ([5], [])
    assert pictures or decoder == "decord"  # which reads no pictures


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
@pytest.mark.parametrize("name", ["concat:a.mp4", "subfile,,start,0,end,9,,:a.mp4", "a:b.mp4"])
def test_a_name_with_a_colon_is_a_name_and_no_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, decoder: str
) -> None:
    monkeypatch.chdir(tmp_path)
    film(tmp_path / "clip.mp4", 5).rename(name)
    assert [number_of(decode_jpeg(file)) for file in decode(name, decoder).frames.values] == [
        0, 1, 2, 3, 4,
    ]  # fmt: skip
