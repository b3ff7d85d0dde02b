"""Test every fusion with a branch missing: a table and a figure.

    python benchmarks/missing_modalities.py [sample] [ravdess] [mosi]     # default: sample

Each fusion is trained twice under the protocol of `corpora.py` with 2 of its seeds: without and
with modality dropout, which hides each source of each clip with a probability of 0.3. The test
clips are predicted whole, and once without each branch. The figures are written to
`benchmarks/missing_modalities-<corpus>.png`.
"""

import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from support.comparison import SEEDS, Variant, count, log, predictions, seed_scores
from support.corpora import Corpus, load_corpora

from ecmf import registry

DROPOUTS = {"trained on whole clips": 0.0, "modality dropout 0.3": 0.3}


def compute_scores(corpus: Corpus, dropout: float) -> dict[str, NDArray[np.float64]]:
    """Compute the WAF of each fusion, on whole clips and without each branch."""
    without = [None, *corpus.branches]
    scores = {}
    for name in registry.names("fusion"):
        change = {"model": name, "modality_dropout": dropout, "seeds": SEEDS[:2]}
        params = corpus.training.model_copy(update=change)
        variant = Variant(f"{corpus.name}: {name}, dropout {dropout}", params, corpus.paths)
        results = predictions(variant, corpus.clips, corpus.classes, corpus.targets, without)
        scores[name] = np.array(
            [seed_scores(count(probs, corpus.clips, corpus.classes)).mean() for probs in results]
        )
    return scores


def table(corpus: Corpus, scores: dict[str, dict[str, NDArray[np.float64]]]) -> str:
    """Write Markdown: a line per fusion, with the scores of both trainings in each cell."""
    columns = ["whole", *(f"without {branch}" for branch in corpus.branches)]
    lines = [f"| {corpus.name} | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    plain, dropped = scores.values()
    for name in plain:
        cells = (f"{a:.3f}, {b:.3f}" for a, b in zip(plain[name], dropped[name], strict=True))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(corpus: Corpus, scores: dict[str, dict[str, NDArray[np.float64]]], path: Path) -> None:
    """Draw a panel per training, with a row per fusion and a column per missing branch."""
    columns = ["nothing", *corpus.branches]
    figure, panels = plt.subplots(
        1, len(scores), figsize=(10, 7), sharey=True, layout="constrained"
    )
    every = np.array([list(by_fusion.values()) for by_fusion in scores.values()])
    for panel, (title, by_fusion) in zip(panels, scores.items(), strict=True):
        values = np.array(list(by_fusion.values()))
        image = panel.imshow(values, vmin=every.min(), vmax=every.max(), aspect="auto")
        panel.set_title(title)
        panel.set_xlabel("missing at test")
        panel.set_xticks(range(len(columns)), columns)
        panel.set_yticks(range(len(by_fusion)), list(by_fusion))
        for (row, column), value in np.ndenumerate(values):
            dark = value < (every.min() + every.max()) / 2
            panel.text(column, row, f"{value:.2f}", ha="center", va="center",
                       color="white" if dark else "black", fontsize=8)  # fmt: skip
    figure.colorbar(image, ax=panels, label=f"WAF, {corpus.name}")
    figure.savefig(path, dpi=80, metadata={"Software": None})
    plt.close(figure)


def main(names: list[str]) -> None:
    """Print the tables and draw the figures."""
    with tempfile.TemporaryDirectory() as folder:
        for corpus in load_corpora(names or ["sample"], Path(folder)):
            scores = {title: compute_scores(corpus, dropout) for title, dropout in DROPOUTS.items()}
            log.info("### %s\n%s", corpus.name, table(corpus, scores))
            name = f"missing_modalities-{corpus.name.lower()}.png"
            draw(corpus, scores, Path(__file__).with_name(name))


if __name__ == "__main__":
    main(sys.argv[1:])
