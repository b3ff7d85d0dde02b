"""How a training went, epoch by epoch, for `dvc plots`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ecmf.storage.files import write_table
from ecmf.training.early_stopping import Epoch

COLUMNS = ("epoch", "train_loss", "validation_waf", "runs")


def write_curves(histories: Sequence[Sequence[Epoch]], path: Path) -> None:
    """Write the mean of all trainings still running at each epoch, and how many these are."""
    lines = [list(COLUMNS)]
    for number in range(max(map(len, histories))):
        running = [history[number] for history in histories if number < len(history)]
        loss = np.mean([epoch.train_loss for epoch in running])
        judged = [epoch.validation_waf for epoch in running if epoch.validation_waf is not None]
        waf = f"{np.mean(judged):.6f}" if judged else ""
        lines.append([str(number + 1), f"{loss:.6f}", waf, str(len(running))])
    write_table(path, lines)
