"""What is left of every fusion where a branch is missing at test: a table and a picture.

    python benchmarks/missing_modalities.py [sample] [ravdess] [mosi]     # sample, if none is named

Each member is trained twice under the protocol of `corpora.py` with 2 of its seeds: on clips as
they are, and with each source hidden from each clip at a chance of 0.3 (modality dropout).
Then the test clips are asked about whole, and once without each branch. The pictures are written to
`benchmarks/missing_modalities-<corpus>.png`.
"""

import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from support.comparison import SEEDS, Variant, answers, count, log, seed_scores
from support.corpora import Corpus, prepared

from ecmf import registry

SHARES = {"trained on whole clips": 0.0, "modality dropout 0.3": 0.3}


def scores(corpus: Corpus, share: float) -> dict[str, NDArray[np.float64]]:
    """WAF of each member, whole and without each branch."""
    without = [None, *corpus.branches]
    found = {}
    for name in registry.names("fusion"):
        change = {"model": name, "modality_dropout": share, "seeds": SEEDS[:2]}
        params = corpus.training.model_copy(update=change)
        variant = Variant(f"{corpus.name}: {name}, dropout {share}", params, corpus.paths)
        said = answers(variant, corpus.clips, corpus.classes, corpus.targets, without)
        found[name] = np.array(
            [seed_scores(count(each, corpus.clips, corpus.classes)).mean() for each in said]
        )
    return found


def table(corpus: Corpus, found: dict[str, dict[str, NDArray[np.float64]]]) -> str:
    """Markdown: a line per member, in each cell the score of both trainings."""
    columns = ["whole", *(f"without {branch}" for branch in corpus.branches)]
    lines = [f"| {corpus.name} | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    plain, dropped = found.values()
    for name in plain:
        cells = (
            f"{one:.3f}, {other:.3f}" for one, other in zip(plain[name], dropped[name], strict=True)
        )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(corpus: Corpus, found: dict[str, dict[str, NDArray[np.float64]]], path: Path) -> None:
    """A panel per training, a row per member, a column per missing branch."""
    columns = ["nothing", *corpus.branches]
    figure, panels = plt.subplots(1, len(found), figsize=(10, 7), sharey=True, layout="constrained")
    every = np.array([list(scores_.values()) for scores_ in found.values()])
    for panel, (title, of_member) in zip(panels, found.items(), strict=True):
        values = np.array(list(of_member.values()))
        drawn = panel.imshow(values, vmin=every.min(), vmax=every.max(), aspect="auto")
        panel.set_title(title)
        panel.set_xlabel("missing at test")
        panel.set_xticks(range(len(columns)), columns)
        panel.set_yticks(range(len(of_member)), list(of_member))
        for (row, column), value in np.ndenumerate(values):
            dark = value < (every.min() + every.max()) / 2
            panel.text(column, row, f"{value:.2f}", ha="center", va="center",
                       color="white" if dark else "black", fontsize=8)  # fmt: skip
    figure.colorbar(drawn, ax=panels, label=f"WAF, {corpus.name}")
    figure.savefig(path, dpi=80, metadata={"Software": None})
    plt.close(figure)


def main(names: list[str]) -> None:
    """Print the tables and draw the pictures."""
    with tempfile.TemporaryDirectory() as folder:
        for corpus in prepared(names or ["sample"], Path(folder)):
            found = {title: scores(corpus, share) for title, share in SHARES.items()}
            log.info("### %s\n%s", corpus.name, table(corpus, found))
            name = f"missing_modalities-{corpus.name.lower()}.png"
            draw(corpus, found, Path(__file__).with_name(name))


if __name__ == "__main__":
    main(sys.argv[1:])
