"""Time until the best validation score of the official recipe of MER2025: the recipe, and ours.

`python benchmarks/time_to_best.py`, from the project's root. Made features as large as MER2025:
7,369 labelled clips and 20,000 to predict, one row each of 768, 1024 and 768 numbers. Each source
spreads 48 hidden numbers, some of them faint, over its width; a small random network of the hidden
numbers of all sources decides the class, and a sixth of the labels are wrong. A fifth of the
labelled clips is the validation. One thread, processor time; the seeds of both sides take turns.

The recipe is written down here from its description: the model `baseline`, width 128, batches of
32, Adam at 1e-3, weight decay 1e-5, a DataLoader that takes clip by clip from arrays in memory and
collates them, and every epoch predicts validation and the 20,000 candidates; 100 epochs, then the
best one is taken. Of these `RUN` are run and their mean is multiplied; its score is the best of
those, after which it has long begun to learn its clips by heart.

Ours is `train_fusion` as `params.yaml` has it: `ecmf`, all epochs of its schedule. What counts is
when a validation score as good as the recipe's was first there: the recipe cannot know which of its
epochs that is before it has run them all. The time of all our epochs is printed too.

It fails below a factor of 10, or where our best WAF is lower than the recipe's.
"""

import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Subset
from torch.utils.data import Dataset as Samples

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "stages"))

from ecmf.data.features import Source
from ecmf.data.splits import Fold
from ecmf.fusion.base import Batch
from ecmf.metrics import weighted_f1
from ecmf.params import load_params
from ecmf.training.dataset import Dataset
from ecmf.training.model import build
from ecmf.training.targets import Targets
from ecmf.training.trainer import fit

LABELLED, CANDIDATES, CLASSES, BATCH = 7_369, 20_000, 6, 32
SOURCES = {"face/a": 768, "audio/b": 1024, "text/c": 768}
THEIR_EPOCHS, RUN, SEEDS = 100, 15, (0, 1)
HIDDEN, TEACHER, NOISE, WRONG = 48, 64, 0.5, 1 / 6
LEAST = 10
OPTIONS = {"width": 128, "dropout": 0.3}

Arrays = dict[str, np.ndarray]


def made() -> tuple[Arrays, np.ndarray]:
    """Features of every clip, and the labels of the first ones."""
    rng = np.random.default_rng(0)
    clips = LABELLED + CANDIDATES
    strength = (np.arange(1, HIDDEN + 1) ** -0.5).astype("float32")
    arrays, hidden = {}, []
    for name, dim in SOURCES.items():
        hidden.append(rng.standard_normal((clips, HIDDEN), "float32"))
        spread = rng.standard_normal((HIDDEN, dim), "float32")
        noise = rng.standard_normal((clips, dim), "float32")
        arrays[name] = (hidden[-1] * strength) @ spread + np.float32(NOISE) * noise
    joint = np.concatenate(hidden, axis=1)
    first = rng.standard_normal((joint.shape[1], TEACHER), "float32")
    second = rng.standard_normal((TEACHER, CLASSES), "float32")
    scores = np.tanh(joint @ first / np.sqrt(HIDDEN)) @ second
    labels = ((scores - scores.mean(axis=0)) / scores.std(axis=0)).argmax(axis=1)[:LABELLED]
    wrong = rng.random(LABELLED) < WRONG
    labels[wrong] = rng.integers(0, CLASSES, wrong.sum())
    return arrays, labels


class OneByOne(Samples[tuple[list[np.ndarray], int]]):
    """A clip at a time, out of arrays in memory."""

    def __init__(self, arrays: Arrays, labels: np.ndarray) -> None:
        self._arrays, self._labels = list(arrays.values()), labels

    def __len__(self) -> int:
        """All clips."""
        return len(self._labels)

    def __getitem__(self, clip: int) -> tuple[list[np.ndarray], int]:
        """Its vectors and its label."""
        return [array[clip] for array in self._arrays], int(self._labels[clip])


def collated(samples: list[tuple[list[np.ndarray], int]]) -> tuple[Batch, Tensor]:
    """Clips -> a batch and its labels."""
    masks = dict.fromkeys(SOURCES, torch.ones(len(samples), 1, dtype=torch.bool))
    rows = {
        name: torch.from_numpy(np.array([vectors[number] for vectors, _ in samples]))[:, None]
        for number, name in enumerate(SOURCES)
    }
    return Batch(rows, masks), torch.tensor([label for _, label in samples])


def recipe(
    arrays: Arrays, labels: np.ndarray, fold: Fold, seed: int
) -> tuple[list[float], list[float]]:
    """Return an epoch's seconds of training, validation and candidates, and the WAF of each."""
    torch.manual_seed(seed)
    shapes = Dataset([Source(name, arrays[name], np.array([0]), {}) for name in SOURCES],
                     torch.device("cpu")).shapes  # fmt: skip
    model = build("baseline", OPTIONS, shapes, CLASSES, seed).fusion  # without our scaling
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-5)
    everything = OneByOne(arrays, np.pad(labels, (0, CANDIDATES)))
    asked = np.arange(LABELLED, LABELLED + CANDIDATES)
    train, validation, candidates = (
        DataLoader(Subset(everything, part.tolist()), BATCH, shuffle=shuffle, collate_fn=collated)
        for part, shuffle in ((fold.train, True), (fold.validation, False), (asked, False))
    )
    spent, scores = np.zeros(3), []
    for _ in range(RUN):
        marks = [time.process_time()]
        model.train()
        for batch, target in train:
            loss = functional.cross_entropy(model(batch).logits, target)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            loss.item()
        marks.append(time.process_time())
        model.eval()
        for loader in (validation, candidates):
            with torch.no_grad():
                said = torch.cat([model(batch).logits for batch, _ in loader]).argmax(dim=1)
            if loader is validation:
                scores.append(weighted_f1(labels[fold.validation], said.numpy()))
            marks.append(time.process_time())
        spent += np.diff(marks)
    return (spent / RUN).tolist(), scores


def ours(dataset: Dataset, targets: Targets, fold: Fold, seed: int) -> tuple[float, list[float]]:
    """Return an epoch's seconds, and the WAF of each."""
    params = load_params().train_fusion
    begin = time.process_time()
    history = fit(dataset, targets, fold, seed, params).history
    spent = (time.process_time() - begin) / len(history)
    return spent, [epoch.validation_waf or 0.0 for epoch in history]


def main() -> bool:
    """Print the factors and both scores; returns whether the claims hold."""
    torch.set_num_threads(1)
    arrays, labels = made()
    starts = np.arange(LABELLED + CANDIDATES + 1)
    dataset = Dataset(
        [Source(name, arrays[name], starts, {}) for name in SOURCES], torch.device("cpu")
    )
    soft = np.zeros((len(starts) - 1, CLASSES), "float32")
    soft[np.arange(LABELLED), labels] = 1
    targets = Targets(soft, soft.sum(axis=1))
    order = np.random.default_rng(1).permutation(LABELLED)
    held = LABELLED // 5
    fold = Fold(0, 0, np.sort(order[held:]), np.sort(order[:held]), order[:0])
    rows = []
    for seed in SEEDS:
        (learn, judge, ask), scores = recipe(arrays, labels, fold, seed)
        theirs = max(scores)
        epoch, own = ours(dataset, targets, fold, seed)
        reached = next((n for n, score in enumerate(own, 1) if score >= theirs), len(own))
        same, stopping = (learn + judge) / epoch, THEIR_EPOCHS / reached
        saved = (learn + judge + ask) / (learn + judge)
        whole = same * saved * THEIR_EPOCHS / len(own)
        rows.append((same, saved, stopping, same * saved * stopping, whole, max(own) - theirs))
        print(
            f"seed {seed}: the recipe {learn:.2f} s to learn, {judge:.2f} to validate, {ask:.2f} "
            f"to predict candidates, WAF {theirs:.4f} in epoch {scores.index(theirs) + 1} and "
            f"{scores[-1]:.4f} in epoch {RUN}; ours {epoch:.2f} s an epoch, as good in epoch "
            f"{reached}, WAF {max(own):.4f} in epoch {own.index(max(own)) + 1} of {len(own)}"
        )
    same, saved, stopping, faster, whole, gain = (
        statistics.median(column) for column in zip(*rows, strict=True)
    )
    holds = faster >= LEAST and gain >= 0
    print(
        f"an epoch {same:.1f}, no candidates in between {saved:.1f}, fewer epochs than 100 "
        f"{stopping:.1f}: {faster:.0f} times as fast, {whole:.1f} times with all our epochs, WAF "
        f"{gain:+.4f}; {LEAST} times and no worse hold: {holds}"
    )
    return holds


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
