"""Open media files with FFmpeg: no other file, no device and no network address is ever read.

Playlists and lists of files (HLS, DASH, ffconcat, SDP, image sequences) name other files
or addresses, and their frames would not be those of the file that was hashed. Therefore only the
formats in FORMATS are opened, each of which is one file. Data that a file refers to by name, e.g.
a track of QuickTime in another file, is not read.
"""

from pathlib import Path

import av
from av.container import InputContainer

from ecmf.decoding import ffmpeg_log
from ecmf.errors import ClipError

FORMATS = (
    # video with sound
    "3g2", "3gp", "asf", "avi", "dv", "flv", "live_flv", "m4a", "m4v", "matroska", "mj2",
    "mov", "mp4", "mpeg", "mpegts", "mxf", "nsv", "nut", "ogg", "rm", "swf", "webm", "wtv",
    # video alone, with or without a container
    "apng", "av1", "dirac", "gif", "h261", "h263", "h264", "hevc", "ivf", "jpegxl_anim", "mjpeg",
    "mpegvideo", "obu", "vc1", "vvc", "yuv4mpegpipe",
    # sound alone
    "aac", "ac3", "aiff", "amr", "amrnb", "amrwb", "ape", "au", "caf", "dts", "dtshd", "eac3",
    "flac", "gsm", "ircam", "loas", "mlp", "mp3", "mpc", "mpc8", "nistsphere", "qcp", "qoa", "shn",
    "sox", "tak", "truehd", "tta", "voc", "w64", "wav", "wv", "xwma",
    # still pictures
    "bmp_pipe", "dpx_pipe", "exr_pipe", "hdr_pipe", "ico", "image2", "j2k_pipe", "jpeg_pipe",
    "jpegls_pipe", "jpegxl_pipe", "pam_pipe", "pbm_pipe", "pcx_pipe", "pgm_pipe", "pgmyuv_pipe",
    "png_pipe", "ppm_pipe", "psd_pipe", "qoi_pipe", "sgi_pipe", "tiff_pipe", "webp_pipe",
)  # fmt: skip
"""Names of FFmpeg's demuxers whose files are complete in themselves."""

OPTIONS = {
    "format_whitelist": ",".join(FORMATS),
    "protocol_whitelist": "file",
    "pattern_type": "none",  # of image2: `%d.jpg` is the name of one picture
}

REFUSAL = "Format not on whitelist"
"""Beginning of FFmpeg's message about a format that OPTIONS does not list."""


def local_url(path: Path) -> str:
    """Return the URL of a file for FFmpeg, which reads a bare name such as `http:a` as another."""
    return f"file:{path}"


def open_container(path: Path) -> InputContainer:
    """Open a file whose format is in FORMATS.

    Raises:
        ClipError: the file is absent, empty or no media file, or its format is not in FORMATS.
    """
    if not path.is_file():
        raise ClipError("there is no such file")
    if path.stat().st_size == 0:
        raise ClipError("the file is empty (0 bytes)")
    with ffmpeg_log.collect_errors() as messages:
        try:
            container: InputContainer = av.open(
                local_url(path), metadata_errors="ignore", options=OPTIONS
            )
        except av.FFmpegError as error:
            refused = [name for _, name, message in messages if message.startswith(REFUSAL)]
            if refused:
                raise ClipError(
                    f"its format, {refused[0]}, is not read, because such a file may name other "
                    "files or holds no frames: convert it to mp4 or mkv"
                ) from error
            raise ClipError(
                f"not a media file, or cut off before its index (FFmpeg: {error.strerror})"
            ) from error
    return container
