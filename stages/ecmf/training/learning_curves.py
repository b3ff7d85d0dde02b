"""Write training loss and validation score by epoch, for `dvc plots`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ecmf.storage.files import write_csv
from ecmf.training.early_stopping import Epoch

COLUMNS = ("epoch", "train_loss", "validation_score", "runs")


def write_curves(histories: Sequence[Sequence[Epoch]], path: Path) -> None:
    """Write the mean over the trainings still running at each epoch, and their number."""
    rows = [list(COLUMNS)]
    for number in range(max(map(len, histories))):
        running = [history[number] for history in histories if number < len(history)]
        loss = np.mean([epoch.train_loss for epoch in running])
        scores = [e.validation_score for e in running if e.validation_score is not None]
        score = f"{np.mean(scores):.6f}" if scores else ""
        rows.append([str(number + 1), f"{loss:.6f}", score, str(len(running))])
    write_csv(path, rows)
