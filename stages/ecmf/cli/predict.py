"""Predict new clips with a trained model: `ecmf predict PATH…`."""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import click

from ecmf.cli.command import Command
from ecmf.errors import ParamsError
from ecmf.inference.clip_prediction import ClipPrediction
from ecmf.inference.new_files import clips_of
from ecmf.inference.trained_model import MODEL, TrainedModel
from ecmf.storage.files import write_csv, write_text

STDIN = STDOUT = "-"

WIDTH = 60
"""Columns of an id in the terminal, of which the end is shown."""


def predict(
    paths: Sequence[str], model: Path, transcript: str = "", language: str = ""
) -> list[ClipPrediction]:
    """Predict the clips of all paths, see `clips_of`; STDIN stands for a list of paths on stdin.

    Raises:
        ParamsError: a transcript or language is given, but the paths are not one media file.
    """
    trained = TrainedModel(model)  # an absent model stops the command before it lists files
    clips = clips_of(expand(paths))
    if transcript or language:
        if len(clips) != 1 or clips[0].split != "unlabelled":
            raise ParamsError(
                f"--transcript and --language are of one file, but these paths are {len(clips)} "
                "clips: write them into the columns transcript and language of a clips.csv"
            )
        clips = [replace(clips[0], transcript=transcript, language=language)]
    return trained.predict_clips(clips)


def expand(paths: Iterable[str]) -> Iterator[str]:
    """Yield the paths; in place of STDIN those listed on stdin, one a line."""
    for path in paths:
        if path != STDIN:
            yield path
            continue
        # As bytes: names are what the file system holds, of any encoding.
        yield from (os.fsdecode(line.rstrip(b"\n")) for line in sys.stdin.buffer if line.strip())


def table(predictions: Sequence[ClipPrediction]) -> str:
    """Format predictions for a terminal: a line per clip, and one for each reason below it."""
    width = min(WIDTH, max(len(each.clip_id) for each in predictions))
    lines = []
    for each in predictions:
        name = each.clip_id if len(each.clip_id) <= width else "…" + each.clip_id[1 - width :]
        if each.error:
            lines += [f"{name:{width}}  failed: {each.error}"]
            continue
        ranked = sorted(each.outputs.items(), key=lambda output: -output[1])
        lines.append(f"{name:{width}}  {', '.join(f'{key} {value:.2f}' for key, value in ranked)}")
        notes = [
            ("weights", [f"{key} {value:.2f}" for key, value in each.weights.items()]),
            ("further", [f"{key} {value:.2f}" for key, value in each.dimensions.items()]),
            ("absent", [f"{key} ({why})" for key, why in each.absent.items()]),
            ("doubts", each.doubts),
            (f"words, by {each.transcriber}", [each.transcript] if each.transcriber else []),
        ]
        lines += [f"  {name}: {', '.join(texts)}" for name, texts in notes if texts]
    return "\n".join(lines)


def to_json(predictions: Sequence[ClipPrediction]) -> str:
    """Return the predictions as a JSON array."""
    return json.dumps([asdict(each) for each in predictions], indent=2, ensure_ascii=False)


def to_rows(predictions: Sequence[ClipPrediction]) -> Iterator[list[str]]:
    """Yield a header and a row per clip, with the columns of `metrics/predictions.csv` and more."""
    outputs, weights, dimensions = (
        list(dict.fromkeys(key for each in predictions for key in getattr(each, part)))
        for part in ("outputs", "weights", "dimensions")
    )
    yield [
        "clip_id", "predicted", *(f"probability_{key}" for key in outputs),
        *(f"weight_{key}" for key in weights), *dimensions, "entropy", "margin", "absent", "doubts",
        "transcript", "transcriber", "error",
    ]  # fmt: skip
    for each in predictions:
        numbers = [
            *(each.outputs.get(key) for key in outputs),
            *(each.weights.get(key) for key in weights),
            *(each.dimensions.get(key) for key in dimensions),
            each.entropy,
            each.margin,
        ]
        yield [
            each.clip_id,
            each.predicted,
            *("" if number is None else f"{number:.6f}" for number in numbers),
            "; ".join(f"{key}: {why}" for key, why in each.absent.items()),
            "; ".join(each.doubts),
            each.transcript,
            each.transcriber,
            each.error,
        ]


@click.command("predict", cls=Command)
@click.argument("paths", nargs=-1, required=True)
@click.option(
    "--model", type=click.Path(path_type=Path), default=MODEL, show_default=True,
    help="Folder of trained models, of the pipeline or packed.",
)  # fmt: skip
@click.option("--json", "json_path", metavar="FILE|-", help="Write JSON; - is the output.")
@click.option("--csv", "csv_path", type=click.Path(path_type=Path), help="Write a table.")
@click.option("--transcript", default="", help="Words of the one file that is given.")
@click.option("--language", default="", help="Its language, e.g. en.")
@click.pass_context
def command(
    ctx: click.Context,
    paths: tuple[str, ...],
    model: Path,
    json_path: str | None,
    csv_path: Path | None,
    transcript: str,
    language: str,
) -> None:
    """Predict files, folders and manifests (.csv); - reads a list of them from stdin.

    A file without a transcript is transcribed if the model's parameters name a transcriber
    (transcribe_speech.transcriber). Of a folder with a clips.csv its clips are predicted, else its
    files of video and audio. A file that cannot be predicted is listed with the reason, does not
    stop the others, and makes the exit code 65.

    \b
    Example:
      ecmf predict interview.mp4 --transcript "I am fine."
      ecmf predict recordings/ --csv predictions.csv
    """  # noqa: D301
    predictions = predict(paths, model, transcript, language)
    if csv_path:
        write_csv(csv_path, to_rows(predictions))
    if json_path and json_path != STDOUT:
        write_text(Path(json_path), f"{to_json(predictions)}\n")
    click.echo(to_json(predictions) if json_path == STDOUT else table(predictions))
    ctx.exit(os.EX_DATAERR if any(each.error for each in predictions) else 0)
