"""The features that the out-of-fold models learn from are in memory once, for all workers."""

import pickle

import numpy as np
from corpus import CLASSES, SOURCES, make_corpus

from ecmf.params import RefineLabels
from ecmf.refinement.out_of_fold import FoldRunner, OutOfFoldPredictor
from ecmf.training.shared_memory import SharedSource, share_memory
from ecmf.training.targets import class_targets


def made(folder):
    corpus = make_corpus(folder)
    none = np.array([], "int64")
    paths = SOURCES.paths(corpus.features)
    predictor = OutOfFoldPredictor(
        paths, corpus.clips, CLASSES, none, none, RefineLabels.model_validate({})
    )
    clips = len(corpus.clips)
    nothing = class_targets(np.zeros((clips, 3), "float32"), np.zeros(clips, "float32"))
    return predictor, nothing


def test_a_worker_gets_the_place_of_features_and_means_instead_of_a_copy(tmp_path):
    predictor, targets = made(tmp_path)
    alone = FoldRunner(predictor, targets)
    with share_memory(tmp_path / "memory") as memory:
        pickled = pickle.dumps(FoldRunner(predictor, targets, memory))
        worker = pickle.loads(pickled)
        for name, source in alone.sources.items():
            assert source.values.tobytes() not in pickled
            assert isinstance(worker.sources[name], SharedSource)
            assert isinstance(worker.means[name], SharedSource)
            np.testing.assert_array_equal(worker.sources[name].values, source.values)
            np.testing.assert_array_equal(worker.means[name].values, source.clip_means())


def test_without_shared_memory_a_worker_reads_the_features_itself(tmp_path):
    predictor, targets = made(tmp_path)
    worker = pickle.loads(pickle.dumps(FoldRunner(predictor, targets)))
    assert "sources" not in vars(worker)
    assert not any(isinstance(source, SharedSource) for source in worker.sources.values())
