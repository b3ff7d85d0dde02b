"""Compare the time to the best validation score of MER2025's official recipe with ours.

`python benchmarks/time_to_best.py`, from the project's root. Generated features as large as
MER2025: 7,369 labelled clips and 20,000 to predict, one row each of 768, 1024 and 768 numbers. Each
source projects 48 latent variables of decreasing strength to its width; a small random network of
the latent variables of all sources decides the class, and a sixth of the labels are wrong. A fifth
of the labelled clips is the validation set. One thread, processor time; both sides alternate.

The recipe is implemented here from its description: the model `baseline`, width 128, batches of
32, Adam at 1e-3, weight decay 1e-5, a DataLoader that takes clip by clip from arrays in memory and
collates them, and every epoch predicts validation and the 20,000 candidates; 100 epochs, then the
best one is taken. Of these `EPOCHS_RUN` are run and their mean is multiplied; its score is the best
of those, after which it has long begun to overfit.

Ours is `train_fusion` with `params.yaml`: `ecmf`, all epochs of its schedule. Its time counts until
a validation score as good as the recipe's is first reached: the recipe cannot know its best epoch
before it has run them all. The time of all our epochs is printed too.

It fails below a factor of 10, or if our best WAF is lower than the recipe's.
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
from ecmf.params import TrainFusion, load_params
from ecmf.training.dataset import Dataset
from ecmf.training.model import build
from ecmf.training.targets import class_targets
from ecmf.training.task import Targets, load_task
from ecmf.training.trainer import fit

LABELLED, CANDIDATES, CLASSES, BATCH = 7_369, 20_000, 6, 32
SOURCES = {"face/a": 768, "audio/b": 1024, "text/c": 768}
RECIPE_EPOCHS, EPOCHS_RUN, SEEDS = 100, 15, (0, 1)
LATENT, TEACHER, NOISE, LABEL_NOISE = 48, 64, 0.5, 1 / 6
MIN_SPEEDUP = 10
OPTIONS = {"width": 128, "dropout": 0.3}

Arrays = dict[str, np.ndarray]


def generate() -> tuple[Arrays, np.ndarray]:
    """Generate the features of every clip, and the labels of the first `LABELLED`."""
    rng = np.random.default_rng(0)
    clips = LABELLED + CANDIDATES
    strength = (np.arange(1, LATENT + 1) ** -0.5).astype("float32")
    arrays, latent = {}, []
    for name, dim in SOURCES.items():
        latent.append(rng.standard_normal((clips, LATENT), "float32"))
        projection = rng.standard_normal((LATENT, dim), "float32")
        noise = rng.standard_normal((clips, dim), "float32")
        arrays[name] = (latent[-1] * strength) @ projection + np.float32(NOISE) * noise
    joint = np.concatenate(latent, axis=1)
    first = rng.standard_normal((joint.shape[1], TEACHER), "float32")
    second = rng.standard_normal((TEACHER, CLASSES), "float32")
    scores = np.tanh(joint @ first / np.sqrt(LATENT)) @ second
    labels = ((scores - scores.mean(axis=0)) / scores.std(axis=0)).argmax(axis=1)[:LABELLED]
    wrong = rng.random(LABELLED) < LABEL_NOISE
    labels[wrong] = rng.integers(0, CLASSES, wrong.sum())
    return arrays, labels


class ArrayDataset(Samples[tuple[list[np.ndarray], int]]):
    """Return one clip at a time from arrays in memory."""

    def __init__(self, arrays: Arrays, labels: np.ndarray) -> None:
        self._arrays, self._labels = list(arrays.values()), labels

    def __len__(self) -> int:
        """Count the clips."""
        return len(self._labels)

    def __getitem__(self, clip: int) -> tuple[list[np.ndarray], int]:
        """Return the vectors and the label of a clip."""
        return [array[clip] for array in self._arrays], int(self._labels[clip])


def collate(samples: list[tuple[list[np.ndarray], int]]) -> tuple[Batch, Tensor]:
    """Stack clips to a batch with its labels."""
    masks = dict.fromkeys(SOURCES, torch.ones(len(samples), 1, dtype=torch.bool))
    rows = {
        name: torch.from_numpy(np.array([vectors[number] for vectors, _ in samples]))[:, None]
        for number, name in enumerate(SOURCES)
    }
    return Batch(rows, masks), torch.tensor([label for _, label in samples])


def run_recipe(
    arrays: Arrays, labels: np.ndarray, fold: Fold, seed: int
) -> tuple[list[float], list[float]]:
    """Return the seconds per epoch of training, validation and candidates; and WAFs by epoch."""
    torch.manual_seed(seed)
    shapes = Dataset([Source(name, arrays[name], np.array([0]), {}) for name in SOURCES],
                     torch.device("cpu")).shapes  # fmt: skip
    task = load_task("single_label", [str(number) for number in range(CLASSES)])
    params = TrainFusion(model="baseline", options={"baseline": OPTIONS})
    model = build(task, params, shapes, seed).fusion  # without our standardisation
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-5)
    everything = ArrayDataset(arrays, np.pad(labels, (0, CANDIDATES)))
    unlabelled = np.arange(LABELLED, LABELLED + CANDIDATES)
    train, validation, candidates = (
        DataLoader(Subset(everything, part.tolist()), BATCH, shuffle=shuffle, collate_fn=collate)
        for part, shuffle in ((fold.train, True), (fold.validation, False), (unlabelled, False))
    )
    seconds, scores = np.zeros(3), []
    for _ in range(EPOCHS_RUN):
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
                predicted = torch.cat([model(batch).logits for batch, _ in loader]).argmax(dim=1)
            if loader is validation:
                scores.append(weighted_f1(labels[fold.validation], predicted.numpy()))
            marks.append(time.process_time())
        seconds += np.diff(marks)
    return (seconds / EPOCHS_RUN).tolist(), scores


def run_ours(
    dataset: Dataset, targets: Targets, fold: Fold, seed: int
) -> tuple[float, list[float]]:
    """Return the seconds per epoch, and the WAF of each epoch."""
    params = load_params().train_fusion
    begin = time.process_time()
    history = fit(dataset, targets, fold, seed, params).history
    seconds = (time.process_time() - begin) / len(history)
    return seconds, [epoch.validation_score or 0.0 for epoch in history]


def main() -> bool:
    """Print the factors and both scores; return whether the claims hold."""
    torch.set_num_threads(1)
    arrays, labels = generate()
    starts = np.arange(LABELLED + CANDIDATES + 1)
    dataset = Dataset(
        [Source(name, arrays[name], starts, {}) for name in SOURCES], torch.device("cpu")
    )
    soft = np.zeros((len(starts) - 1, CLASSES), "float32")
    soft[np.arange(LABELLED), labels] = 1
    targets = class_targets(soft, soft.sum(axis=1))
    order = np.random.default_rng(1).permutation(LABELLED)
    count = LABELLED // 5
    fold = Fold(0, 0, np.sort(order[count:]), np.sort(order[:count]), order[:0])
    rows = []
    for seed in SEEDS:
        (train, validate, predict), scores = run_recipe(arrays, labels, fold, seed)
        recipe_best = max(scores)
        epoch, ours = run_ours(dataset, targets, fold, seed)
        reached = next((n for n, score in enumerate(ours, 1) if score >= recipe_best), len(ours))
        same, stopping = (train + validate) / epoch, RECIPE_EPOCHS / reached
        saved = (train + validate + predict) / (train + validate)
        whole = same * saved * RECIPE_EPOCHS / len(ours)
        gain = max(ours) - recipe_best
        rows.append((same, saved, stopping, same * saved * stopping, whole, gain))
        print(
            f"seed {seed}: the recipe {train:.2f} s to train, {validate:.2f} to validate, "
            f"{predict:.2f} to predict candidates, WAF {recipe_best:.4f} in epoch "
            f"{scores.index(recipe_best) + 1} and {scores[-1]:.4f} in epoch {EPOCHS_RUN}; ours "
            f"{epoch:.2f} s an epoch, as good in epoch {reached}, WAF {max(ours):.4f} in epoch "
            f"{ours.index(max(ours)) + 1} of {len(ours)}"
        )
    same, saved, stopping, faster, whole, gain = (
        statistics.median(column) for column in zip(*rows, strict=True)
    )
    holds = faster >= MIN_SPEEDUP and gain >= 0
    print(
        f"an epoch {same:.1f}, no candidates in between {saved:.1f}, fewer epochs than 100 "
        f"{stopping:.1f}: {faster:.0f} times as fast, {whole:.1f} times with all our epochs, WAF "
        f"{gain:+.4f}; {MIN_SPEEDUP} times and no worse hold: {holds}"
    )
    return holds


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
