"""Features made elsewhere -> files for `imported`: `python stages/import_features.py <layout> ...`.

Run by hand, once per file or folder of features; what it writes is named in `params.yaml` by path
and SHA-256, and the lines to do so are printed. Every clip of the manifest that has no features,
and all features of no clip, are listed beside with their reason.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from ecmf import registry
from ecmf.cli.command import Command
from ecmf.data.manifest import read_manifest
from ecmf.errors import CorpusError, ParamsError
from ecmf.importing.base import ForeignSource, Layout, Renaming
from ecmf.importing.importer import Imported, import_source
from ecmf.params import BRANCHES, Branch
from ecmf.storage.files import sha256

FAMILY = "feature_formats"
STAGES: Mapping[Branch, str] = {
    "frame": "encode_frames",
    "face": "encode_faces",
    "audio": "encode_audio",
    "text": "encode_text",
}
WORD = re.compile(r"[\w./-]+")
"""What DVC's grammar of overrides (Hydra's) takes without quotes."""


def import_features(
    layout: str,
    path: Path,
    manifest: Path,
    folder: Path,
    wanted: Mapping[str, Branch],
    renamings: Sequence[Renaming] = (),
) -> str:
    """Write the sources at `path` into `folder`; return what came of it and the parameters to use.

    `wanted` says which encoders to take, and for which branch; empty, all whose branch is told by
    the layout. `renamings` replace those of the layout.

    Raises:
        ParamsError: an encoder is not there, or its branch is not known; lists those there are. Or
            two would stand under one name in the table of a branch; nothing is written.
    """
    member: Layout = registry.load(FAMILY, layout).Layout()
    clips = read_manifest(manifest)
    sources = list(member.sources(path))
    branches = _branches(sources, wanted, path)
    _refuse_one_name_for_two(branches, path)
    said, use = [], []
    for source in sources:
        if source.encoder in branches:
            imported = import_source(source, clips, renamings or member.renamings, folder)
            said.append(imported.summary())
            use.append(f"  -S {shlex.quote(_override(branches[source.encoder], imported))}")
        else:
            said.append(f"{source.encoder}: not taken")
    return "\n".join([*said, "next: dvc exp run \\", " \\\n".join(use)])


def _branches(
    sources: Sequence[ForeignSource], wanted: Mapping[str, Branch], path: Path
) -> Mapping[str, Branch]:
    names = [source.encoder for source in sources]
    for name in names:
        if not re.fullmatch(r"[^/\\\0]+", name) or not name.isprintable() or name.startswith("."):
            raise CorpusError(f"{path}: {name!r} becomes a file name: rename it")
    for name in wanted:
        if name not in names:
            raise ParamsError(
                f"{path} has no {name!r}: it has {', '.join(names)}.{registry.hint(name, names)}"
            )
    if wanted:
        return wanted
    told = {source.encoder: source.branch for source in sources if source.branch is not None}
    if len(told) < len(sources):
        raise ParamsError(
            f"{path} has {', '.join(names)}: say of each that you want which branch it is for, "
            f"with --take {BRANCHES[2]}={names[0]}, one of {', '.join(BRANCHES)}"
        )
    return told


def _refuse_one_name_for_two(branches: Mapping[str, Branch], path: Path) -> None:
    """Refuse, with ParamsError: the second line would put its encoder in the place of the first."""
    taken: dict[tuple[Branch, str], str] = {}
    for encoder, branch in branches.items():
        other = taken.setdefault((branch, _name(encoder)), encoder)
        if other != encoder:
            raise ParamsError(
                f"{path}: {other!r} and {encoder!r} would both be encoder {_name(encoder)!r} of "
                f"branch {branch}: rename one, or import them in two runs with --take and "
                "rename the line of the second in params.yaml"
            )


def _name(encoder: str) -> str:
    """Return the name of an encoder in a table of `params.yaml`."""
    name = re.sub(r"[^a-z0-9]+", "_", encoder.lower()).strip("_")
    return name if name[:1].isalpha() else f"imported_{name}".strip("_")


def _override(branch: Branch, imported: Imported) -> str:
    """Write the entry of the table as DVC reads it."""
    path = str(imported.archive)
    if not WORD.fullmatch(path):
        path = '"{}"'.format(path.replace("\\", "\\\\").replace('"', '\\"'))
    entry = f"{{member: imported, path: {path}, sha256: {sha256(imported.archive)}}}"
    return f"+{STAGES[branch]}.encoders.{_name(imported.encoder)}={entry}"


def _taken(given: Sequence[str]) -> dict[str, Branch]:
    wanted: dict[str, Branch] = {}
    for take in given:
        branch, _, name = take.partition("=")
        if branch not in BRANCHES or not name:
            raise ParamsError(
                f"--take {take!r}: write <branch>=<encoder>, with a branch of {', '.join(BRANCHES)}"
            )
        if name in wanted:
            raise ParamsError(f"--take {take!r}: {name} is taken already, for {wanted[name]}")
        wanted[name] = branch
    return wanted


@click.command("import", cls=Command)
@click.argument("layout")
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("manifest", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--take",
    multiple=True,
    metavar="BRANCH=ENCODER",
    help="An encoder to take, and its branch; may be repeated.",
)
@click.option(
    "--id",
    "renamings",
    nargs=2,
    multiple=True,
    metavar="PATTERN TEMPLATE",
    help="Ids that match this regular expression are clips of that name, as '(.+)_x' '\\1'.",
)
def command(
    layout: str,
    path: Path,
    manifest: Path,
    folder: Path,
    take: Sequence[str],
    renamings: Sequence[tuple[str, str]],
) -> str:
    r"""Convert the features at PATH into files for the encoder `imported`, in FOLDER.

    LAYOUT is a file in stages/ecmf/feature_formats/: mertools, mmsa. MANIFEST lists the clips.

    \b
    Example:
      ecmf import mertools /features data/manifests/mer2025.csv data/imported \\
        --take audio=chinese-hubert-large-UTT
    """
    wanted, renamed = _taken(take), [Renaming(*pair) for pair in renamings]
    return import_features(layout, path, manifest, folder, wanted, renamed)
