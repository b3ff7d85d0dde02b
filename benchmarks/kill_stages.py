"""Kill every stage at random moments and check that the next run ends with the same bytes.

Run from the project's root: `python benchmarks/kill_stages.py --kills 200`. Works in a copy of the
project with a small sample corpus and two small networks. A reference run is not disturbed; then
each stage is started, and its whole process group ended by SIGKILL at a moment drawn uniformly over
the seconds of the reference, again and again on what the kill has left, until the stage completes.
If that happens before the stage has had its number of kills, its outputs and its cache are removed
and it starts from nothing again. One more kill per stage is aimed: it comes as soon as more work
could be lost than is allowed. Checked:

- after a kill every output is absent or whole, and every result in the cache is valid;
- the run that completes leaves the bytes of the reference, and no file that is not an output;
- a kill costs one batch per worker at most: no more clips than that are computed again. Only
  `make_sample` starts over, and the few seconds of stages that do not go clip by clip.

Exit code 1 if a check fails; the copy is then kept. A clip counts when it is computed: those that
each worker was busy with are lost, too. Power failures are not simulated: what the kernel had
accepted stays.
"""

import argparse
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import networkx as nx
import yaml
from dvc.repo import Repo

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "stages"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/support"))

import tiny_vision
from checkout import copy_project

from ecmf.corpora.folder import TABLE
from ecmf.execution.local import CLIPS_PER_PACK
from ecmf.storage.files import sha256

ROOT = Path(__file__).resolve().parents[1]
WORKERS = 2
SMALL = {
    "make_sample": {
        "train_actors": 4,
        "val_actors": 1,
        "test_actors": 1,
        "unlabelled_actors": 1,
        "clips_per_actor": 15,
        "clips_per_unlabelled_actor": 6,
        "missing_of_each": 2,
        "frames_per_second": 5,
        "shortest_seconds": 1.0,
    },
    "decode_video": {"frames": 4},
    "refine_labels": {"folds": 2},
    "train_fusion": {"folds": 3, "seeds": [0, 1], "epochs": 4},
}
"""More clips than one batch per worker, so that a kill could cost more than is allowed."""

NETWORK = "vit"
"""A generated image network, besides MiniLM, the network of the default parameters."""

POLL_SECONDS = 0.01
"""Interval at which an aimed kill counts the computed units."""

OUTPUT_FOLDERS = ("data", "models", "metrics")
STARTS_OVER = "make_sample"
"""Stage without a cache, which makes the corpus from the start."""

TALLY = '''"""Wrap a function to append a line per computed unit to the file named by TALLY."""
import hashlib
import os
import pickle


def record(kind, function, unit):
    def wrapper(*arguments):
        result = function(*arguments)
        line = f"{kind} {hashlib.sha256(pickle.dumps(unit(*arguments))).hexdigest()}\\n"
        file = os.open(os.environ["TALLY"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, line.encode())
        os.close(file)
        return result

    return wrapper
'''
WRAPPED = {
    "ecmf/execution/process_pool": (
        '_outcome = record("item", _outcome, lambda function, item: item)'
    ),
    "ecmf/encoding/batching": (
        '_BatchQueue._merge = record("item", _BatchQueue._merge, lambda self, clip: clip.key)'
    ),
    "ecmf/training/run_trainer": (
        'fit = record("training", fit, lambda data, target, fold, seed, *others: (seed, fold))'
    ),
    "sample_corpus/rendering": (
        '_render_clip = record("rendering", _render_clip, lambda clip, *others: clip.clip_id)'
    ),
}
"""Module of the copy -> the line appended to it, which wraps the function that does the work."""

UNIT_KINDS = {"make_sample": "rendering", "train_fusion": "training"}
"""Units counted for a stage, unless they are the items of its workers or of its network."""


@dataclass
class Stage:
    """A stage of `dvc.yaml` with measurements of the reference run and of the kills."""

    name: str
    command: list[str]
    outputs: list[str]
    seconds: float = 0.0
    files: dict[str, str] = field(default_factory=dict)
    """Path -> hash of every output file."""
    units: set[str] = field(default_factory=set)
    kills: int = 0
    """Number of kills at random moments."""
    aimed: int = 0
    runs: int = 0
    computed: int = 0
    redone: int = 0
    max_redone: int = 0
    identical: bool = True
    errors: list[str] = field(default_factory=list)

    @property
    def max_cost(self) -> int:
        """Number of units one kill may cost; a training is a batch of its own."""
        return WORKERS * (1 if UNIT_KINDS.get(self.name) == "training" else CLIPS_PER_PACK)


class Copy:
    """A copy of the project that records its work."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.scratch = folder / "project", folder
        copy_project(self.folder)
        subprocess.run(
            ["git", "init", "--quiet"], cwd=self.folder, check=True
        )  # DVC needs a repository
        self._count_work()
        self._make_small()
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self._environment = {
            **os.environ, "PATH": path, "ECMF_WORKERS": str(WORKERS), "HF_HUB_OFFLINE": "1",
        }  # fmt: skip
        with Repo(str(self.folder)) as repo:
            self.stages = [
                Stage(stage.name, shlex.split(stage.cmd), [out.def_path for out in stage.outs])
                for stage in nx.dfs_postorder_nodes(repo.index.graph)  # those it needs first
            ]

    def _count_work(self) -> None:
        stages = self.folder / "stages"
        (stages / "ecmf/tally.py").write_text(TALLY)
        for module, line in WRAPPED.items():
            with (stages / f"{module}.py").open("a") as file:
                file.write(f"\n\nfrom ecmf.tally import record\n\n{line}\n")

    def _make_small(self) -> None:
        weights = tiny_vision.save(NETWORK, self.folder / NETWORK)
        params = yaml.safe_load((self.folder / "params.yaml").read_text())
        for section, change in SMALL.items():
            params[section].update(change)
        params["encode_faces"]["encoders"][NETWORK] = {
            "encoder": "huggingface", **weights, "folder": NETWORK,
        }  # fmt: skip
        (self.folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))

    def run(
        self,
        stage: Stage,
        cache: Path,
        tally: Path,
        moment: float | None = None,
        max_units: int | None = None,
    ) -> bool:
        """Run a stage; return True if it completed, False if its process group was killed.

        It is killed after `moment` seconds, or once more than `max_units` units are computed.
        """
        process = subprocess.Popen(
            stage.command,
            cwd=self.folder,
            env={**self._environment, "ECMF_CACHE": str(cache), "TALLY": str(tally)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        while True:
            try:  # a pipe ends when the last process of the group has closed it
                seconds = moment if max_units is None else POLL_SECONDS
                output, _ = process.communicate(timeout=seconds)
                break
            except subprocess.TimeoutExpired:
                if max_units is None or len(read_units(stage, tally)) > max_units:
                    os.killpg(process.pid, signal.SIGKILL)
                    moment = max_units = None
        if process.returncode not in (0, -signal.SIGKILL):
            raise RuntimeError(f"{stage.name}: exit code {process.returncode}\n{output}")
        return process.returncode == 0

    def files(self, names: Iterable[str]) -> dict[str, str]:
        """Return the hashes of all files below `names`, by path."""
        roots = [self.folder / name for name in names]
        paths = {path for root in roots for path in [root, *root.rglob("*")] if path.is_file()}
        return {str(path.relative_to(self.folder)): sha256(path) for path in sorted(paths)}

    def remove(self, names: Iterable[str]) -> None:
        """Remove files and folders."""
        for name in names:
            path = self.folder / name
            if path.is_dir():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)


def read_units(stage: Stage, tally: Path) -> list[str]:
    """Return the units that a run computed; equal ones, such as silent clips, are numbered."""
    lines = tally.read_text().splitlines() if tally.is_file() else []
    kind = UNIT_KINDS.get(stage.name, "item")
    done = Counter(line for line in lines if line.split()[0] == kind)
    return [f"{line} {number}" for line, times in done.items() for number in range(times)]


def run_reference(copy: Copy) -> dict[str, str]:
    """Run all stages undisturbed; return the hashes of all files that they leave."""
    for stage in copy.stages:
        copy.remove(stage.outputs)
    for stage in copy.stages:
        tally = copy.scratch / "tallies" / stage.name
        tally.parent.mkdir(exist_ok=True)
        began = time.monotonic()
        copy.run(stage, copy.scratch / "caches/reference", tally)
        stage.seconds = time.monotonic() - began
        stage.files = copy.files(stage.outputs)
        done = read_units(stage, tally)
        stage.units = set(done)
        print(f"{stage.name}: {stage.seconds:.1f} s, {len(done)} computed", flush=True)
    return copy.files(OUTPUT_FOLDERS)


def distribute(kills: int, stages: Sequence[Stage]) -> list[int]:
    """Distribute kills: half of them equally, half by the seconds of stages that resume."""
    equal = kills // (2 * len(stages))
    rest = kills - equal * len(stages)
    seconds = [0 if stage.name == STARTS_OVER else stage.seconds for stage in stages]
    exact = [rest * s / sum(seconds) for s in seconds]
    floors = [int(number) for number in exact]
    raised = sorted(range(len(stages)), key=lambda i: floors[i] - exact[i])[: rest - sum(floors)]
    return [equal + floor + (i in raised) for i, floor in enumerate(floors)]


def kill(copy: Copy, stage: Stage, kills: int, rng: random.Random) -> None:
    """Run a stage from nothing, kill and start it again, until it has been killed often enough."""
    aimed = len(stage.units) > stage.max_cost and stage.name != STARTS_OVER
    for number in count():
        copy.remove(stage.outputs)
        cache = copy.scratch / "caches" / f"{stage.name}-{number}"
        tallies: list[list[str]] = []
        completed = False
        while not completed:
            moment = rng.uniform(0, stage.seconds) if stage.kills < kills else None
            max_units = stage.max_cost if aimed and not stage.runs else None
            tally = copy.scratch / "tallies" / f"{stage.name}-{number}-{len(tallies)}"
            completed = copy.run(stage, cache, tally, moment, max_units)
            tallies.append(read_units(stage, tally))
            stage.runs += 1
            if not completed:
                stage.kills += max_units is None
                stage.aimed += max_units is not None
                stage.errors += [
                    f"kill {stage.kills}: {error}" for error in find_damaged(copy, stage)
                ]
            if not is_valid(copy, cache):
                stage.errors.append(f"kill {stage.kills}: damaged results in {cache}")
        count_redone(stage, tallies)
        if copy.files(stage.outputs) != stage.files:
            stage.identical = False
            stage.errors.append(f"after kill {stage.kills} the outputs differ from the reference")
        shutil.rmtree(cache, ignore_errors=True)
        print(f"{stage.name}: {stage.kills} of {kills} kills, {stage.runs} runs", flush=True)
        if stage.kills == kills:
            return


def find_damaged(copy: Copy, stage: Stage) -> list[str]:
    """List the outputs that are neither absent nor whole; hidden files are no outputs.

    The folder of a corpus fills file by file, each of them whole; its table is written last.
    """
    files = copy.files(stage.outputs)
    files = {name: digest for name, digest in files.items() if not Path(name).name.startswith(".")}
    errors = [
        f"{name} differs" for name, digest in files.items() if stage.files.get(name) != digest
    ]
    for output in stage.outputs:
        missing = {name for name in stage.files if name.startswith(f"{output}/")} - set(files)
        filling = f"{output}/{TABLE}" in missing
        if (copy.folder / output).exists() and missing and not filling:
            errors.append(f"{output} lacks {len(missing)} of its files")
    return errors


def is_valid(copy: Copy, cache: Path) -> bool:
    """Return whether `ecmf cache verify` finds no damaged result."""
    if not (cache / "clips").is_dir():
        return True
    command = [sys.executable, "-m", "ecmf", "cache", "verify"]
    environment = {**os.environ, "ECMF_CACHE": str(cache)}
    done = subprocess.run(command, cwd=copy.folder, env=environment, capture_output=True)
    return done.returncode == 0 and not done.stderr  # an unreadable file is only a warning there


def count_redone(stage: Stage, tallies: Sequence[Sequence[str]]) -> None:
    """Count the units of the runs up to a complete one, and those that each kill has cost."""
    last_run: dict[str, int] = {}
    cost: Counter[int] = Counter()
    for run, done in enumerate(tallies):
        for unit in done:
            if unit in last_run:
                cost[last_run[unit]] += 1
            last_run[unit] = run
    stage.computed += sum(map(len, tallies))
    stage.redone += cost.total()
    stage.max_redone = max(stage.max_redone, *cost.values(), 0)
    if set(last_run) != stage.units:
        stage.errors.append("other units were computed than in the reference run")
    if stage.name != STARTS_OVER and stage.max_redone > stage.max_cost:
        stage.errors.append(f"a kill cost {stage.max_redone}, more than {stage.max_cost}")


def table(stages: Sequence[Stage]) -> str:
    """Write Markdown: a line per stage, and one for all."""
    lines = [
        "| stage | seconds | kills | aimed | runs | computed | redone | at most | identical |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for stage in stages:
        lines.append(
            f"| {stage.name} | {stage.seconds:.1f} | {stage.kills} | {stage.aimed} | "
            f"{stage.runs} | {stage.computed} | {stage.redone} | "
            f"{stage.max_redone} of {len(stage.units)}"
            f"{', starts over' if stage.name == STARTS_OVER else ''} | "
            f"{'yes' if stage.identical else 'NO'} |"
        )
    sums = [sum(getattr(stage, name) for stage in stages) for name in ("kills", "aimed", "runs")]
    identical = "yes" if all(stage.identical for stage in stages) else "NO"
    return "\n".join([*lines, f"| all | | {' | '.join(map(str, sums))} | | | | {identical} |"])


def main() -> int:
    """Kill, print the table, and list failed checks."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="kill_stages_"))
    print(f"working in {scratch}", flush=True)
    copy = Copy(scratch)
    reference = run_reference(copy)
    for stage in copy.stages:
        copy.remove(stage.outputs)
    rng = random.Random(arguments.seed)  # noqa: S311 (no secret)
    for stage, kills in zip(copy.stages, distribute(arguments.kills, copy.stages), strict=True):
        kill(copy, stage, kills, rng)
    errors = [f"{stage.name}: {error}" for stage in copy.stages for error in stage.errors]
    left = copy.files(OUTPUT_FOLDERS)
    names = sorted(left.keys() | reference.keys())
    errors += [f"{name} differs from the reference" for name in names
               if left.get(name) != reference.get(name)]  # fmt: skip
    print(table(copy.stages))
    print("\n".join(f"BROKEN {error}" for error in errors) or "all checks passed")
    if not errors:
        shutil.rmtree(scratch)
    return int(bool(errors))


if __name__ == "__main__":
    sys.exit(main())
