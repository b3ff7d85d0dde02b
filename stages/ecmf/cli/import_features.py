"""Convert external features for the encoder `imported`: `ecmf import <format> <path> ...`.

Run it once per file or folder of features. It prints the parameters that add the written archives
to `params.yaml`, by path and SHA-256. Clips without features and features of unknown clips are
listed beside each archive, with the reason.
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
from ecmf.importing.base import ExternalFeatures, FeatureFormat, IdMapping
from ecmf.importing.importer import ImportResult, import_encoder
from ecmf.params import BRANCHES, STAGE_OF_BRANCH, Branch
from ecmf.storage.files import sha256

FAMILY = "feature_formats"
WORD = re.compile(r"[\w./-]+")
"""Values that need no quotes in an override of DVC (Hydra's grammar)."""


def import_features(
    format_name: str,
    path: Path,
    manifest: Path,
    folder: Path,
    branches: Mapping[str, Branch],
    id_mappings: Sequence[IdMapping] = (),
) -> str:
    """Write the features at `path` into `folder`; return a summary and the parameters to use.

    `branches` maps each encoder to import to its branch; if empty, all encoders are imported, and
    the format must record their branch. `id_mappings` replace those of the format.

    Raises:
        ParamsError: an encoder or its branch is unknown, or two encoders of a branch would have the
            same name; nothing is written.
    """
    reader: FeatureFormat = registry.load(FAMILY, format_name).FeatureFormat()
    clips = read_manifest(manifest)
    encoders = list(reader.read(path))
    branches = _branches(encoders, branches, path)
    _check_unique_names(branches, path)
    lines, overrides = [], []
    for features in encoders:
        if features.encoder in branches:
            result = import_encoder(features, clips, id_mappings or reader.id_mappings, folder)
            lines.append(result.summary())
            overrides.append(f"  -S {shlex.quote(_override(branches[features.encoder], result))}")
        else:
            lines.append(f"{features.encoder}: not imported")
    return "\n".join([*lines, "next: dvc exp run \\", " \\\n".join(overrides)])


def _branches(
    encoders: Sequence[ExternalFeatures], chosen: Mapping[str, Branch], path: Path
) -> Mapping[str, Branch]:
    names = [features.encoder for features in encoders]
    for name in names:
        if not re.fullmatch(r"[^/\\\0]+", name) or not name.isprintable() or name.startswith("."):
            raise CorpusError(f"{path}: {name!r} cannot be used as a file name: rename it")
    for name in chosen:
        if name not in names:
            raise ParamsError(
                f"{path} has no {name!r}: it has {', '.join(names)}."
                + registry.did_you_mean(name, names)
            )
    if chosen:
        return chosen
    recorded = {e.encoder: e.branch for e in encoders if e.branch is not None}
    if len(recorded) < len(encoders):
        raise ParamsError(
            f"{path} has {', '.join(names)}, without their branches ({', '.join(BRANCHES)}): name "
            f"each encoder to import and its branch, e.g. --take {BRANCHES[2]}={names[0]}"
        )
    return recorded


def _check_unique_names(branches: Mapping[str, Branch], path: Path) -> None:
    """Check that no encoder would replace another one in `params.yaml`."""
    encoder_of: dict[tuple[Branch, str], str] = {}
    for encoder, branch in branches.items():
        other = encoder_of.setdefault((branch, _name(encoder)), encoder)
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


def _override(branch: Branch, result: ImportResult) -> str:
    """Format the table entry as an override of DVC."""
    path = str(result.archive)
    if not WORD.fullmatch(path):
        path = '"{}"'.format(path.replace("\\", "\\\\").replace('"', '\\"'))
    entry = f"{{encoder: imported, path: {path}, sha256: {sha256(result.archive)}}}"
    return f"++{STAGE_OF_BRANCH[branch]}.encoders.{_name(result.encoder)}={entry}"


def _parse_take(options: Sequence[str]) -> dict[str, Branch]:
    branches: dict[str, Branch] = {}
    for take in options:
        branch, _, name = take.partition("=")
        if branch not in BRANCHES or not name:
            raise ParamsError(
                f"--take {take!r}: write <branch>=<encoder>, with a branch of {', '.join(BRANCHES)}"
            )
        if name in branches:
            raise ParamsError(f"--take {take!r}: {name} was already taken for {branches[name]}")
        branches[name] = branch
    return branches


@click.command("import", cls=Command, epilog=f"Formats: {', '.join(registry.names(FAMILY))}.")
@click.argument("format_name", metavar="FORMAT")
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("manifest", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--take",
    multiple=True,
    metavar="BRANCH=ENCODER",
    help="Import this encoder, for this branch; may be repeated.",
)
@click.option(
    "--id",
    "id_mappings",
    nargs=2,
    multiple=True,
    metavar="PATTERN TEMPLATE",
    help="Map ids that match a regular expression to clip ids, e.g. '(.+)_x' '\\1'.",
)
def command(
    format_name: str,
    path: Path,
    manifest: Path,
    folder: Path,
    take: Sequence[str],
    id_mappings: Sequence[tuple[str, str]],
) -> str:
    """Convert the features at PATH into files for the encoder `imported`, in FOLDER.

    FORMAT is a file in stages/ecmf/feature_formats/; MANIFEST lists the clips.

    \b
    Example:
      ecmf import mertools /features data/manifests/mer2025.csv data/imported \\
        --take audio=chinese-hubert-large-UTT
    """  # noqa: D301
    mappings = [IdMapping(*pair) for pair in id_mappings]
    return import_features(format_name, path, manifest, folder, _parse_take(take), mappings)
