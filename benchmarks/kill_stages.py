"""Every stage, killed at random moments -> does the next run end with the same bytes, and how soon?

Run from the project's root: `python benchmarks/kill_stages.py --kills 200`. Works in a copy of the
project with a small sample corpus and two small networks. A reference run is left in peace; then
each stage is started, and the whole group of its processes ended by SIGKILL at a moment drawn
uniformly over the seconds the reference took, again and again on what the kill has left, until it
comes through. Should that happen before the stage has had its share of kills, its outputs and its
cache are removed and it starts from nothing once more. One kill more per stage is aimed: it comes
as soon as there is more to lose than may be lost. Promised, and checked:

- after a kill every output is absent or whole, and every result in the cache is sound;
- the run that comes through leaves the bytes of the reference, and no file that is not an output;
- a kill costs one batch per worker at most: no more clips than that are worked out again. Only
  `make_sample` starts over, and the few seconds of stages that do not go clip by clip.

Exit code 1 where a promise is broken; the copy is then kept. A clip counts when it is done: those
that each worker was busy with are lost, too. The power is not cut: what a kernel had taken, stays.
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

import yaml
from dvc.repo import Repo

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "stages"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/support"))

import tiny_vision
from checkout import copy_project

from ecmf.corpora.folder import LIST
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
"""More clips than a batch for every worker, or a kill could not cost more than that."""

NETWORK = "vit"
"""An image network made on the spot, beside minilm, the network of the sample's own parameters."""

SECONDS_PER_LOOK = 0.01
"""How often an aimed kill looks whether its moment has come."""

MADE = ("data", "models", "metrics")
STARTS_OVER = "make_sample"
"""Makes the corpus anew and keeps nothing: it is here for the other stages' sake."""

TALLY = '''"""A function in; one that also writes down what it has worked out."""
import hashlib
import os
import pickle


def tallied(kind, function, unit):
    def call(*arguments):
        result = function(*arguments)
        line = f"{kind} {hashlib.sha256(pickle.dumps(unit(*arguments))).hexdigest()}\\n"
        file = os.open(os.environ["TALLY"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, line.encode())
        os.close(file)
        return result

    return call
'''
TALLIED = {
    "ecmf/execution/process_pool": '_outcome = tallied("item", _outcome, lambda function, item: item)',
    "ecmf/encoding/batching": '_Batches._joined = tallied("item", _Batches._joined, lambda self, clip: clip.tag)',
    "ecmf/training/cross_validation": 'fit = tallied("training", fit, lambda data, goal, fold, seed, params: (seed, fold))',
    "sample_corpus/shooting": '_film = tallied("film", _film, lambda clip, *others: clip.clip_id)',
}
"""What is added to modules of the copy, so that work is counted where it is done."""

KINDS = {"make_sample": "film", "train_fusion": "training"}
"""What is counted of a stage, where that is not the items of its workers or of its network."""


@dataclass
class Stage:
    """A stage of `dvc.yaml`, what the reference run has seen of it, and what the kills did."""

    name: str
    command: list[str]
    outputs: list[str]
    seconds: float = 0.0
    files: dict[str, str] = field(default_factory=dict)
    """Path -> hash of every file it makes."""
    units: set[str] = field(default_factory=set)
    kills: int = 0
    """At random moments."""
    aimed: int = 0
    runs: int = 0
    worked_out: int = 0
    redone: int = 0
    most_redone: int = 0
    identical: bool = True
    faults: list[str] = field(default_factory=list)

    @property
    def bound(self) -> int:
        """How many units one kill may cost; a training is a batch of its own."""
        return WORKERS * (1 if KINDS.get(self.name) == "training" else CLIPS_PER_PACK)


class Copy:
    """A copy of the project that counts its work."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.scratch = folder / "project", folder
        copy_project(self.folder)
        subprocess.run(["git", "init", "--quiet"], cwd=self.folder, check=True)  # DVC asks for it
        self._count_work()
        self._make_small()
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self._environment = {
            **os.environ, "PATH": path, "ECMF_WORKERS": str(WORKERS), "HF_HUB_OFFLINE": "1",
        }  # fmt: skip
        with Repo(str(self.folder)) as repo:
            self.stages = [
                Stage(stage.name, shlex.split(stage.cmd), [out.def_path for out in stage.outs])
                for stage in repo.index.stages
            ]

    def _count_work(self) -> None:
        stages = self.folder / "stages"
        (stages / "ecmf/tally.py").write_text(TALLY)
        for module, line in TALLIED.items():
            with (stages / f"{module}.py").open("a") as file:
                file.write(f"\n\nfrom ecmf.tally import tallied\n\n{line}\n")

    def _make_small(self) -> None:
        weights = tiny_vision.save(NETWORK, self.folder / NETWORK)
        params = yaml.safe_load((self.folder / "params.yaml").read_text())
        for section, change in SMALL.items():
            params[section].update(change)
        params["encode_faces"]["encoders"][NETWORK] = {
            "member": "huggingface", **weights, "folder": NETWORK,
        }  # fmt: skip
        (self.folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))

    def run(
        self,
        stage: Stage,
        cache: Path,
        tally: Path,
        moment: float | None = None,
        most: int | None = None,
    ) -> bool:
        """Run a stage, True if it came through; else it was killed, with all it had started.

        That is after `moment` seconds, or once more than `most` units have been worked out.
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
            try:  # a pipe is at its end when the last of the group has let go of it
                said, _ = process.communicate(timeout=moment if most is None else SECONDS_PER_LOOK)
                break
            except subprocess.TimeoutExpired:
                if most is None or len(units(stage, tally)) > most:
                    os.killpg(process.pid, signal.SIGKILL)
                    moment = most = None
        if process.returncode not in (0, -signal.SIGKILL):
            raise RuntimeError(f"{stage.name}: exit code {process.returncode}\n{said}")
        return process.returncode == 0

    def files(self, names: Iterable[str]) -> dict[str, str]:
        """Path -> hash of all files below `names`."""
        places = [self.folder / name for name in names]
        found = {path for place in places for path in [place, *place.rglob("*")] if path.is_file()}
        return {str(path.relative_to(self.folder)): sha256(path) for path in sorted(found)}

    def remove(self, names: Iterable[str]) -> None:
        """Remove files and folders."""
        for name in names:
            path = self.folder / name
            if path.is_dir():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)


def units(stage: Stage, tally: Path) -> list[str]:
    """What a run has worked out; the second of two that are alike, as silent voices are, counts."""
    lines = tally.read_text().splitlines() if tally.is_file() else []
    kind = KINDS.get(stage.name, "item")
    done = Counter(line for line in lines if line.split()[0] == kind)
    return [f"{line} {number}" for line, times in done.items() for number in range(times)]


def refer(copy: Copy) -> dict[str, str]:
    """Run all stages in peace; return every file that they leave, outputs or not."""
    for stage in copy.stages:
        copy.remove(stage.outputs)
    for stage in copy.stages:
        tally = copy.scratch / "tallies" / stage.name
        tally.parent.mkdir(exist_ok=True)
        began = time.monotonic()
        copy.run(stage, copy.scratch / "caches/reference", tally)
        stage.seconds = time.monotonic() - began
        stage.files = copy.files(stage.outputs)
        done = units(stage, tally)
        stage.units = set(done)
        print(f"{stage.name}: {stage.seconds:.1f} s, {len(done)} worked out", flush=True)
    return copy.files(MADE)


def shared_out(kills: int, stages: Sequence[Stage]) -> list[int]:
    """Kills of each stage: half of them alike, half by the seconds of those that keep work."""
    alike = kills // (2 * len(stages))
    rest = kills - alike * len(stages)
    seconds = [0 if stage.name == STARTS_OVER else stage.seconds for stage in stages]
    shares = [rest * part / sum(seconds) for part in seconds]
    given = [int(share) for share in shares]
    short = sorted(range(len(stages)), key=lambda i: given[i] - shares[i])[: rest - sum(given)]
    return [alike + whole + (i in short) for i, whole in enumerate(given)]


def kill(copy: Copy, stage: Stage, share: int, chance: random.Random) -> None:
    """Run a stage from nothing, killed and started again, until it has had its share of kills."""
    aimed = len(stage.units) > stage.bound and stage.name != STARTS_OVER
    for number in count():
        copy.remove(stage.outputs)
        cache = copy.scratch / "caches" / f"{stage.name}-{number}"
        tallies: list[list[str]] = []
        came_through = False
        while not came_through:
            moment = chance.uniform(0, stage.seconds) if stage.kills < share else None
            most = stage.bound if aimed and not stage.runs else None
            tally = copy.scratch / "tallies" / f"{stage.name}-{number}-{len(tallies)}"
            came_through = copy.run(stage, cache, tally, moment, most)
            tallies.append(units(stage, tally))
            stage.runs += 1
            if not came_through:
                stage.kills += most is None
                stage.aimed += most is not None
                stage.faults += [
                    f"kill {stage.kills}: {torn}" for torn in torn_outputs(copy, stage)
                ]
            if not is_sound(copy, cache):
                stage.faults.append(f"kill {stage.kills}: damaged results in {cache}")
        judge(stage, tallies)
        if copy.files(stage.outputs) != stage.files:
            stage.identical = False
            stage.faults.append(f"after kill {stage.kills} the outputs are not those of reference")
        shutil.rmtree(cache, ignore_errors=True)
        print(f"{stage.name}: {stage.kills} of {share} kills, {stage.runs} runs", flush=True)
        if stage.kills == share:
            return


def torn_outputs(copy: Copy, stage: Stage) -> list[str]:
    """Say which outputs are neither absent nor whole; hidden files are none, to DVC and to us.

    The folder of a corpus fills file by file, each of them whole; its list comes last.
    """
    found = copy.files(stage.outputs)
    seen = {name: digest for name, digest in found.items() if not Path(name).name.startswith(".")}
    torn = [f"{name} is torn" for name, digest in seen.items() if stage.files.get(name) != digest]
    for output in stage.outputs:
        wanted = {name for name in stage.files if name.startswith(f"{output}/")}
        filling = f"{output}/{LIST}" in wanted - set(seen)
        if (copy.folder / output).exists() and not wanted <= set(seen) and not filling:
            torn.append(f"{output} lacks {len(wanted - set(seen))} of its files")
    return torn


def is_sound(copy: Copy, cache: Path) -> bool:
    """Ask the project's own tool whether all results that are kept are whole."""
    if not (cache / "clips").is_dir():
        return True
    command = [sys.executable, "-m", "ecmf", "cache", "verify"]
    environment = {**os.environ, "ECMF_CACHE": str(cache)}
    done = subprocess.run(command, cwd=copy.folder, env=environment, capture_output=True)
    return done.returncode == 0 and not done.stderr  # what cannot be opened is but a warning there


def judge(stage: Stage, tallies: Sequence[Sequence[str]]) -> None:
    """Add up the runs that ended in one that came through; blame each kill for what it has cost."""
    last_run: dict[str, int] = {}
    cost: Counter[int] = Counter()
    for run, done in enumerate(tallies):
        for unit in done:
            if unit in last_run:
                cost[last_run[unit]] += 1
            last_run[unit] = run
    stage.worked_out += sum(map(len, tallies))
    stage.redone += cost.total()
    stage.most_redone = max(stage.most_redone, *cost.values(), 0)
    if set(last_run) != stage.units:
        stage.faults.append("other clips are worked out than in the reference run")
    if stage.name != STARTS_OVER and stage.most_redone > stage.bound:
        stage.faults.append(f"a kill cost {stage.most_redone}, more than {stage.bound}")


def table(stages: Sequence[Stage]) -> str:
    """Markdown: a line per stage, and one of all."""
    lines = [
        "| stage | seconds | kills | aimed | runs | worked out | redone | at most | identical |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for stage in stages:
        lines.append(
            f"| {stage.name} | {stage.seconds:.1f} | {stage.kills} | {stage.aimed} | "
            f"{stage.runs} | {stage.worked_out} | {stage.redone} | "
            f"{stage.most_redone} of {len(stage.units)}"
            f"{', starts over' if stage.name == STARTS_OVER else ''} | "
            f"{'yes' if stage.identical else 'NO'} |"
        )
    sums = [sum(getattr(stage, name) for stage in stages) for name in ("kills", "aimed", "runs")]
    identical = "yes" if all(stage.identical for stage in stages) else "NO"
    return "\n".join([*lines, f"| all | | {' | '.join(map(str, sums))} | | | | {identical} |"])


def main() -> int:
    """Kill, print the table, and say which promises are broken."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="kill_stages_"))
    print(f"working in {scratch}", flush=True)
    copy = Copy(scratch)
    reference = refer(copy)
    for stage in copy.stages:
        copy.remove(stage.outputs)
    chance = random.Random(given.seed)  # noqa: S311 (no secret)
    for stage, share in zip(copy.stages, shared_out(given.kills, copy.stages), strict=True):
        kill(copy, stage, share, chance)
    faults = [f"{stage.name}: {fault}" for stage in copy.stages for fault in stage.faults]
    left = copy.files(MADE)
    faults += [f"{name} is not as it was" for name in sorted(left.keys() | reference.keys())
               if left.get(name) != reference.get(name)]  # fmt: skip
    print(table(copy.stages))
    print("\n".join(f"BROKEN {fault}" for fault in faults) or "every promise is kept")
    if not faults:
        shutil.rmtree(scratch)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
