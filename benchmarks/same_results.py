"""Run the pipeline of two revisions on the same corpora, and compare every value that they write.

`python benchmarks/same_results.py OLD [NEW] [--corpus sample] [--corpus ravdess] [--ravdess FOLDER]
[--work FOLDER] [--set KEY=VALUE] [--set-both KEY=VALUE]`, from the project's root. OLD and NEW are
git revisions, and NEW is HEAD if it is left out. Each is cloned and run in the environment of this
script, without a remote and with its own caches. Uncommitted changes are not compared. A finished
run stays in the work folder and is used again; an interrupted one is continued. `--set` changes a
parameter of NEW alone, which takes back a changed default; `--set-both` changes it on both sides.
`result_differences.py` says how files are compared, and `result_files.py` declares what was
renamed. Ends with 1 if any value differs.
"""

import argparse
import hashlib
import json
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import distributions
from pathlib import Path

from dvc.utils.hydra import apply_overrides
from support.result_differences import compare_results, table

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("ECMF_SHARED", ROOT.parent / "shared"))
CORPORA = ("sample", "ravdess")
PROJECT = "ecmf"
INDEX = Path("stages/index_corpus.py")
"""Writes a manifest in older revisions; newer ones have `python -m ecmf index`."""

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A commit, a corpus and changed parameters: they and the environment decide the results."""

    commit: str
    corpus: str
    changes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name the run's folder: the same commit, corpus and parameters have the same."""
        digest = hashlib.sha256(json.dumps(self.changes).encode()).hexdigest()[:8]
        return "-".join([self.commit[:12], self.corpus, *([digest] if self.changes else [])])


def resolve_commit(revision: str) -> str:
    """Return the full hash of a git revision of this repository."""
    command = ["git", "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if found.returncode:
        raise SystemExit(f"{revision!r} is no revision of this repository: `git log` lists them")
    return found.stdout.strip()


def execute(command: Sequence[str | Path], checkout: Path) -> None:
    """Run a command in a checkout with its own code and caches; append its output to run.log."""
    home = checkout.parent
    own = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(checkout / "stages"),  # precedes an editable install of the project
        "ECMF_CACHE": str(home / "cache"),
        "DVC_GLOBAL_CONFIG_DIR": str(home / "dvc/global"),
        "DVC_SYSTEM_CONFIG_DIR": str(home / "dvc/system"),
        "DVC_SITE_CACHE_DIR": str(home / "dvc/site"),
    }
    with (home / "run.log").open("a", encoding="utf-8") as output:
        done = subprocess.run(
            command, cwd=checkout, env=os.environ | own, stdout=output, stderr=subprocess.STDOUT
        )
    if done.returncode:
        shown = " ".join(map(str, command))
        raise SystemExit(f"`{shown}` ended with {done.returncode}: see {home / 'run.log'}")


def prepare(run: Run, ravdess: Path, home: Path) -> Path:
    """Make home/checkout: the commit without its results, the parameters, RAVDESS's manifest."""
    part = home / "checkout.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    execute(["git", "clone", "--quiet", "--no-checkout", ROOT, "."], part)
    execute(["git", "checkout", "--quiet", "--detach", run.commit], part)
    for made in [*part.rglob("dvc.lock"), *(part / "metrics").glob("*.*")]:
        made.unlink(missing_ok=True)
    apply_overrides(part / "params.yaml", [f"corpus={run.corpus}", *run.changes])
    if run.corpus == "ravdess":
        index = [str(INDEX)] if (part / INDEX).is_file() else ["-m", "ecmf", "index"]
        execute([sys.executable, *index, "ravdess", ravdess], part)
    return part.rename(home / "checkout")


def read_environment() -> dict[str, str]:
    """Return the installed packages and the processor: another one may round another last bit."""
    packages = {one.name: one.version for one in distributions() if one.name != PROJECT}
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    names = {line.partition(":")[2].strip() for line in lines if line.startswith("model name")}
    return {**packages, "processor": ", ".join(sorted(names)) or platform.processor()}


def run_pipeline(run: Run, ravdess: Path, home: Path) -> Path:
    """Run the whole pipeline unless it is finished, and return the checkout it ran in."""
    marker, checkout = home / "finished.json", home / "checkout"
    settings = json.loads(json.dumps(asdict(run)))
    environment = read_environment()
    if marker.is_file():
        finished = json.loads(marker.read_text(encoding="utf-8"))
        if {key: finished[key] for key in settings} != settings:
            raise SystemExit(f"{home} holds another run: delete it, or choose another --work")
        if other := sorted(dict(environment.items() ^ finished["environment"].items())):
            log.warning("%s ran in another environment: %s", home.name, ", ".join(other))
        log.info("%s was finished before, in %.0f s", home.name, finished["seconds"])
        return checkout
    started = time.monotonic()
    if not checkout.is_dir():
        prepare(run, ravdess, home)
    log.info("%s runs, its output in %s", home.name, home / "run.log")
    execute([sys.executable, "-m", "dvc", "repro"], checkout)
    seconds = time.monotonic() - started
    content = json.dumps({**settings, "seconds": seconds, "environment": environment}, indent=1)
    marker.write_text(content, encoding="utf-8")
    log.info("%s is finished, in %.0f s", home.name, seconds)
    return checkout


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("old")
    parser.add_argument("new", nargs="?", default="HEAD")
    parser.add_argument("--corpus", action="append", choices=CORPORA, help="default: both")
    parser.add_argument("--ravdess", type=Path, default=SHARED / "data/ravdess")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir(), "same_results"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--set-both", action="append", default=[], metavar="KEY=VALUE")
    return parser.parse_args()


def main() -> int:
    """Run and compare; 1 if a value differs or no corpus was compared."""
    given = read_arguments()
    old, new = resolve_commit(given.old), resolve_commit(given.new)
    work, ravdess = given.work.resolve(), given.ravdess.resolve()
    different = compared = 0
    for corpus in given.corpus or CORPORA:
        if corpus == "ravdess" and not ravdess.is_dir():
            log.warning("ravdess is skipped: there is no folder %s", ravdess)
            continue
        before = Run(old, corpus, tuple(given.set_both))
        after = Run(new, corpus, (*given.set_both, *given.set))
        again = "-again" if before == after else ""
        checkouts = (
            run_pipeline(before, ravdess, work / before.name),
            run_pipeline(after, ravdess, work / f"{after.name}{again}"),
        )
        findings = compare_results(*checkouts)
        log.info("### %s\n%s", corpus, table(findings))
        different += sum(bool(one.faults) for one in findings)
        compared += 1
    log.info("%d corpora compared, %d files differ", compared, different)
    return int(different > 0 or not compared)


if __name__ == "__main__":
    sys.exit(main())
