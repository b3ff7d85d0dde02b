"""What a fusion has to beat: logistic regressions, one per source, and their joint opinion."""

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from support.comparison import Answers
from support.corpora import Corpus

from ecmf.data.features import Source
from ecmf.training.cross_validation import plan, read_sources

MEAN, PRODUCT = "mean of the sources' classifiers", "product of the sources' classifiers"


def classifiers(corpus: Corpus) -> dict[str, Answers]:
    """Mean and product of the probabilities, on the same test folds; all else is learned from."""
    sources = read_sources(dict(corpus.paths), corpus.clips, corpus.training)
    labels = corpus.targets.soft.argmax(axis=1)
    shape = (len(corpus.training.seeds), len(corpus.clips), len(corpus.classes))
    joint = {MEAN: np.zeros(shape), PRODUCT: np.zeros(shape)}
    for run in plan(corpus.clips, corpus.training):
        fold, seed = run.fold, corpus.training.seeds.index(run.seed)
        said = np.array(
            [
                _said(source, labels, fold.train, fold.test, corpus.strengths[source.name])
                for source in sources
            ]
        )
        joint[MEAN][seed, fold.test] = said.mean(axis=0)
        joint[PRODUCT][seed, fold.test] = said.prod(axis=0)
    return joint


def _said(
    source: Source,
    labels: NDArray[np.int64],
    learn: NDArray[np.int64],
    test: NDArray[np.int64],
    strength: float,
) -> NDArray[np.float64]:
    values = source.clip_means()
    known = learn[source.present[learn]]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))
    model.fit(values[known], labels[known])
    said = model.predict_proba(values[test])
    said[~source.present[test]] = 1 / said.shape[1]  # an absent source says nothing
    return np.asarray(said)
