"""Encode RAVDESS speech with the stages: voices in windows of time, and action units of faces."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.rows import Rows, with_rows

from crop_faces import crop_faces
from decode_video import decode_video
from ecmf.data.corpus_index import collect_clips
from ecmf.data.manifest import write_manifest
from ecmf.params import EncodeAudio, EncodeFaces, load_params
from ecmf.storage.files import sha256
from encode_audio import encode_audio
from encode_faces import encode_faces


def voices(models: Path | None) -> dict[str, Mapping[str, Any]]:
    """Return the encoders of voices: librosa of `params.yaml`, and the speech embedding.

    `models` is the folder of the two files of the speech embedding; None leaves it out.
    """
    librosa = load_params().encode_audio.encoders["librosa"]
    if models is None:
        return {"librosa": librosa.model_dump()}
    front_end = models / "oww_melspectrogram.onnx"
    network = models / "oww_embedding_model.onnx"
    speech = {
        "encoder": "onnx_speech",
        "front_end": str(front_end),
        "front_end_sha256": sha256(front_end),
        "weights": str(network),
        "sha256": sha256(network),
        "rows": "window",
        "row_seconds": 0.25,
    }
    return {"librosa": librosa.model_dump(), "speech": speech}


def encode(
    corpus: Path, action_units: Path, models: Path | None, folder: Path, rows: Rows = "sequence"
) -> tuple[Path, dict[str, Path]]:
    """Run the stages up to the features; return the manifest and the stores by source.

    The published action units are means over a video, so a face has one row.
    """
    params = load_params()
    manifest = folder / "ravdess.csv"
    write_manifest(collect_clips("ravdess", corpus), manifest)
    frames, audio, faces = (folder / f"{name}.h5" for name in ("frames", "audio", "faces"))
    decode_video(manifest, frames, audio, params.decode_video)
    crop_faces(manifest, frames, faces, params.crop_faces)
    imported = {"encoder": "imported", "path": str(action_units), "sha256": sha256(action_units)}
    face_params = EncodeFaces.model_validate({"encoders": {"action_units": imported}})
    encoders = {name: with_rows(entry, rows) for name, entry in voices(models).items()}
    audio_params = EncodeAudio.model_validate({"encoders": encoders})
    paths = {"face/action_units": folder / "action_units.h5"}
    encode_faces("action_units", faces, paths["face/action_units"], face_params)
    for name in encoders:
        paths[f"audio/{name}"] = folder / f"{name}.h5"
        encode_audio(name, audio, paths[f"audio/{name}"], audio_params)
    return manifest, paths
