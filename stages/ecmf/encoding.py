"""What stands in a store, as the encoders of each branch see it."""

from collections.abc import Iterator
from pathlib import Path

from ecmf.engine import Recipe, encode
from ecmf.enrichment import read_texts
from ecmf.media import Pictures, Sound, Text
from ecmf.params import Choice, TextChoice
from ecmf.pictures import decode_jpeg
from ecmf.store import Rows, Store


def encode_pictures(
    source: str, choice: Choice, pictures: Path, features: Path, budget: float
) -> None:
    """Encode a store of frames or of face crops."""
    with Store(pictures) as store:
        recipe = Recipe("encoders.image", choice, as_pictures)
        encode(source, recipe, _of_store(store), len(store), features, budget)


def encode_sound(source: str, choice: Choice, audio: Path, features: Path, budget: float) -> None:
    """Encode a store of waveforms."""
    with Store(audio) as store:
        recipe = Recipe("encoders.audio", choice, as_sound)
        encode(source, recipe, _of_store(store), len(store), features, budget)


def encode_transcripts(
    source: str, choice: TextChoice, text: Path, features: Path, budget: float
) -> None:
    """Encode the chosen view of the texts of `enrich_text`."""
    texts = [
        (record.clip_id, getattr(record, choice.view), record.reason) for record in read_texts(text)
    ]
    encode(source, Recipe("encoders.text", choice, Text), texts, len(texts), features, budget)


def _of_store(store: Store) -> Iterator[tuple[str, Rows, str]]:
    for clip_id, rows in store.items():
        yield clip_id, rows, rows.reason


def as_pictures(clip_id: str, rows: Rows) -> Pictures:
    """Open the JPEG files of a clip."""
    return Pictures(clip_id, [decode_jpeg(picture) for picture in rows.values], rows.times)


def as_sound(clip_id: str, rows: Rows) -> Sound:
    """Hold the waveform of a clip."""
    return Sound(clip_id, rows.values)  # type: ignore[arg-type]
