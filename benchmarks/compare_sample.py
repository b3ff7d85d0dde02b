"""Sample corpus, true labels: is every branch ambiguous alone, and the fusion better than each?

Run after `make repro`, from the project's root: `python benchmarks/compare_sample.py`. The corpus
is made so that each modality mixes up other pairs of emotions: this proves the pipeline, not the
science.
"""

import csv
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from comparison import SEEDS, Variant, confusions, log, table, tested_in_turn

from ecmf.manifest import classes_of, read_manifest
from ecmf.opinions import as_shares
from ecmf.params import BRANCHES, load_params
from ecmf.training import Targets

MANIFEST, TRUTH = Path("data/manifests/sample.csv"), Path("data/truth/sample.csv")
TEST_FOLDS, FOLDS = 6, 3


def true_labels() -> dict[str, str]:
    """What was really played, by clip id."""
    with TRUTH.open(newline="", encoding="utf-8") as file:
        return {row["clip_id"]: row["emotion"] for row in csv.DictReader(file)}


def main(names: list[str]) -> None:
    """Print the table of the fusions with all branches, and of each branch alone."""
    params = load_params()
    clips = tested_in_turn(read_manifest(MANIFEST))
    classes = classes_of(MANIFEST, clips)
    truth = true_labels()
    clips = [replace(clip, label=truth[clip.clip_id] if clip.label else "") for clip in clips]
    targets = Targets(
        as_shares([clip.label for clip in clips], classes).astype("float32"),
        np.array([bool(clip.label) for clip in clips], "float32"),
    )
    paths = params.sources.paths(Path("data/features"))
    common = params.train_fusion.model_copy(
        update={"seeds": SEEDS, "test_folds": TEST_FOLDS, "folds": FOLDS}
    )
    variants = [
        *(Variant(f"{model}, all branches", common.model_copy(update={"model": model}), paths)
          for model in ("concat", "baseline", "ecmf")),
        *(Variant(f"ecmf, {branch} alone", common.model_copy(update={"branches": (branch,)}), paths)
          for branch in BRANCHES),
    ]  # fmt: skip
    results = {
        variant.name: confusions(variant, clips, classes, targets)
        for variant in variants
        if not names or any(name in variant.name for name in names)
    }
    log.info("%s", table(results, rival=next(iter(results))))


if __name__ == "__main__":
    main(sys.argv[1:])
