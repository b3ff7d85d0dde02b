"""Classify clips by one source alone: logistic regression on the mean row of each clip."""

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from ecmf.data.splits import Indices
from ecmf.probabilities import Probabilities
from ecmf.training.task import Targets

REGULARISATION = 0.01
"""Inverse regularisation C: strong, for few clips with noisy labels."""


def classify_by_source(
    means: NDArray[np.float32],
    present: NDArray[np.bool_],
    targets: Targets,
    train: Indices,
    predicted: Indices,
) -> Probabilities:
    """Train on the most probable classes of the clips `train`, and predict the clips `predicted`.

    Args:
        means: Mean row of each clip of the corpus, (clips, dim).
        present: Whether each clip has the source, (clips,).
        targets: Class probabilities and sample weights of the clips.
        train: Positions of the training clips; those without the source are left out.
        predicted: Positions of the clips to predict.

    Returns:
        Class probabilities of the clips `predicted`, (clips, classes). A clip without the source
        has a row of zeros, and so has every clip if fewer than two classes can be trained on.
    """
    probs = np.zeros((len(predicted), len(targets.task.outputs)))
    train = train[present[train]]
    labels = targets.values["class_probs"][train].argmax(axis=1)
    weight, known = targets.weight[train], present[predicted]
    if len(set(labels.tolist())) < 2 or not known.any():
        return probs
    with threadpool_limits(1):  # the last bits depend on the number of threads
        classifier = make_pipeline(
            StandardScaler(copy=False), LogisticRegression(C=REGULARISATION, max_iter=1000)
        )
        classifier.fit(
            means[train].astype("float64"), labels, logisticregression__sample_weight=weight
        )
        own = means[predicted[known]].astype("float64")
        probs[np.ix_(known, classifier.classes_)] = classifier.predict_proba(own)
    return probs
