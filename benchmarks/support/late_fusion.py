"""Reference for fusions: one logistic regression per source, combined by mean or product.

A regression reads the mean of a clip's rows, and their deviation where clips have several.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from support.comparison import TestProbabilities
from support.corpora import Corpus

from ecmf.data.features import Source
from ecmf.data.splits import Fold
from ecmf.training.fold_runs import plan_runs
from ecmf.training.source_reading import read_sources

MEAN, PRODUCT = "mean of the sources' classifiers", "product of the sources' classifiers"


def predict_late_fusions(
    corpus: Corpus, *, same_folds: bool = False
) -> dict[str, TestProbabilities]:
    """Combine the probabilities of the classifiers, on the same folds as the fusions.

    With `same_folds` all seeds have the folds of the first, and so the same predictions.
    """
    sources = read_sources(dict(corpus.paths), corpus.clips, corpus.training)
    labels = corpus.targets.values["class_probs"].argmax(axis=1)
    shape = (len(corpus.training.seeds), len(corpus.clips), len(corpus.classes))
    joint = {MEAN: np.zeros(shape), PRODUCT: np.zeros(shape)}
    seeds = corpus.training.seeds
    planned = corpus.training.model_copy(update={"seeds": seeds[:1] if same_folds else seeds})
    for run in plan_runs(corpus.clips, planned):
        fold = run.fold
        seed = slice(None) if same_folds else seeds.index(run.seed)
        probs = np.array(
            [_fit_and_predict(s, labels, fold, corpus.c_values[s.name]) for s in sources]
        )
        joint[MEAN][seed, fold.test] = probs.mean(axis=0)
        joint[PRODUCT][seed, fold.test] = probs.prod(axis=0)
    return joint


def _fit_and_predict(
    source: Source,
    labels: NDArray[np.int64],
    fold: Fold,
    c: float,
) -> NDArray[np.float64]:
    values = _summarise(source)
    present = fold.train[source.present[fold.train]]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000))
    model.fit(values[present], labels[present])
    probs = model.predict_proba(values[fold.test])
    probs[~source.present[fold.test]] = (
        1 / probs.shape[1]
    )  # uniform, so it does not change a product
    return np.asarray(probs)


def _summarise(source: Source) -> NDArray[np.float32]:
    means = source.clip_means()
    if np.diff(source.starts).max() == 1:
        return means
    squares = replace(source, values=np.square(source.values)).clip_means()
    deviations = np.sqrt(np.maximum(squares - np.square(means), 0))
    return np.hstack([means, deviations])
