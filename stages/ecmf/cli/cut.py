"""Cut long recordings into utterances: `ecmf cut FOLDER --name NAME`.

Nothing is copied: the utterances are listed in FOLDER/clips.csv as pieces of the recordings, and
indexed as the corpus `folder`.
"""

import logging
from pathlib import Path

import click

from ecmf.cli.command import Command
from ecmf.cli.index import index_corpus
from ecmf.corpora.folder import TABLE
from ecmf.errors import ClipError, CorpusError, MissingFileError
from ecmf.execution.clip_errors import failing_one_clip
from ecmf.storage.files import walk, write_csv

log = logging.getLogger(__name__)

COLUMNS = ("clip_id", "video", "audio", "group", "start", "end")


def cut_folder(folder: Path, name: str, **lengths: float) -> str:
    """List the utterances of all recordings in `folder`, and index them; return a summary.

    A file that cannot be read is left out, with a warning.

    Raises:
        MissingFileError: there is no such folder, or a package of the extra `cut` is missing.
        CorpusError: the folder has a clips.csv already, or no utterance is found.
    """
    if not folder.is_dir():
        raise MissingFileError(f"no folder {folder}: name the folder with the recordings")
    if (folder / TABLE).exists():
        raise CorpusError(f"{folder / TABLE} exists, maybe with labels: move it away to cut again")
    try:
        from ecmf.cutting.recording import find_utterances
    except ModuleNotFoundError as error:
        raise MissingFileError(
            f"no package {error.name}, which finds speech and shots: pip install 'ecmf[cut]' (from "
            "the project: pip install '.[cut]')"
        ) from error
    rows = []
    for path in sorted(walk(folder)):
        relative = path.relative_to(folder)
        if any(part.startswith(".") for part in relative.parts):
            continue
        try:
            with failing_one_clip():
                spans, has_video = find_utterances(path, **lengths)
        except ClipError as error:
            log.warning("left out: %s: %s", relative, error)
            continue
        name_of_file, stem = relative.as_posix(), "_".join(relative.parts)
        files = (name_of_file, "") if has_video else ("", name_of_file)
        rows += [
            [f"{stem}_{number:04d}", *files, name_of_file, f"{start:.3f}", f"{end:.3f}"]
            for number, (start, end) in enumerate(spans, 1)
        ]
    if not rows:
        raise CorpusError(f"{folder}: no speech in any file: name a folder of recordings")
    write_csv(folder / TABLE, [COLUMNS, *rows])
    return f"{folder / TABLE}: {len(rows)} utterances\n{index_corpus('folder', folder, name)}"


@click.command("cut", cls=Command)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="Name of the manifest.")
@click.option("--shortest", default=0.5, show_default=True, help="Shortest utterance in seconds.")
@click.option("--longest", default=15.0, show_default=True, help="Longest utterance in seconds.")
@click.option("--silence", default=0.3, show_default=True, help="Pause that ends an utterance.")
@click.option("--padding", default=0.1, show_default=True, help="Seconds kept around the speech.")
def command(folder: Path, name: str, **lengths: float) -> str:
    """List the utterances of the recordings in FOLDER, and index them; no file is copied.

    \b
    Example:
      ecmf cut data/raw/talks --name talks
    """  # noqa: D301
    return cut_folder(folder, name, **lengths)
