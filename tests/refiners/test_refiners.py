"""Posteriors of every refiner, and the policies for labels that these contradict."""

import numpy as np
import pandas
import pytest
from crowdkit.aggregation import DawidSkene

from ecmf import registry
from ecmf.errors import ParamsError
from ecmf.refinement.base import SourceVotes, combine_models
from ecmf.refinement.decision_rules import decide
from ecmf.refinement.label_sources import polarity_votes
from ecmf.refiners.dawid_skene import fit

CLASSES = ("angry", "happy", "sad")
RNG = np.random.default_rng(0)


def refine(refiner, votes, **options):
    return registry.build("refiners", "Refiner", refiner, options)(votes, CLASSES)


def one_hot(top_class):
    return np.eye(3)[top_class] * (np.asarray(top_class) >= 0)[:, None]


def source(top_class, kind="tables"):
    return SourceVotes(kind, one_hot(np.asarray(top_class)))


def noisy(truth, accuracy, rng):
    """Votes that are right with this probability, else any other class."""
    wrong = (truth + rng.integers(1, 3, len(truth))) % 3
    return np.where(rng.random(len(truth)) < accuracy, truth, wrong)


@pytest.fixture
def crowd():
    """300 clips whose label is right 8 times of 10, and four sources of unlike accuracy."""
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 3, 300)
    votes = {"given": source(noisy(truth, 0.8, rng), "given")}
    for number, accuracy in enumerate((0.95, 0.4, 0.4, 0.4)):
        votes[f"s{number}"] = source(noisy(truth, accuracy, rng))
    return truth, votes


@pytest.mark.parametrize("refiner", [*registry.names("refiners"), registry.EXAMPLE])
def test_a_posterior_is_a_distribution_or_zeros(refiner, crowd):
    _, votes = crowd
    sources = {"sources": ["s0", "s1"]} if refiner == "agreement" else {}
    votes["audio/mine"] = SourceVotes("out_of_fold", RNG.dirichlet(np.ones(3), 300))
    posterior = refine(refiner, votes, **sources)
    assert posterior.shape == (300, 3) and (posterior >= 0).all()
    assert np.isin(posterior.sum(axis=1).round(9), (0, 1)).all()


# --- vote -------------------------------------------------------------------------------------


def test_sources_that_agree_more_get_more_weight(crowd):
    truth, votes = crowd
    plain = refine("vote", votes).argmax(axis=1)
    weighted = refine("vote", votes, weights="agreement").argmax(axis=1)
    assert (weighted == truth).mean() > (plain == truth).mean() + 0.05


def test_weights_are_estimated_on_trusted_clips(crowd):
    """Three of five sources make the same mistake; twenty trusted clips reveal it."""
    truth, votes = crowd
    for name in ("s1", "s2", "s3"):
        votes[name] = source((truth + 1) % 3)
    known = np.where(np.arange(300) < 20, truth, -1)
    votes["trusted"] = source(known, "trusted")
    rest = np.arange(300) >= 20
    weighted = refine("vote", votes, weights="agreement").argmax(axis=1)
    assert (weighted == truth)[rest].mean() > 0.9
    del votes["trusted"]
    assert (refine("vote", votes, weights="agreement").argmax(axis=1) == truth)[rest].mean() < 0.1


def test_all_models_together_count_as_one_source():
    """Ten classifiers trained on the same labels do not outvote two people."""
    votes = {"given": source([0], "given"), "a": source([0], "annotators")}
    votes |= {f"audio/{n}": source([1], "out_of_fold") for n in range(10)}
    assert refine("vote", votes)[0].tolist() == pytest.approx([2 / 3, 1 / 3, 0])
    votes["fusion"] = source([2], "out_of_fold")
    assert refine("vote", votes)[0].tolist() == pytest.approx([2 / 3, 0, 1 / 3])


def test_a_clip_without_a_counted_vote_has_no_posterior():
    assert not refine("vote", {"given": source([1], "given")}, given=0.0).any()


# --- agreement --------------------------------------------------------------------------------


def test_agreement_needs_a_vote_of_every_named_source():
    votes = {"given": source([0, 0, 0, 0], "given"),
             "a": source([1, 1, -1, 2]), "b": source([1, 2, 1, 2])}  # fmt: skip
    posterior = refine("agreement", votes, sources=["a", "b"])
    assert posterior.tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, 1]]


def test_an_unknown_source_is_named_with_the_known_ones():
    with pytest.raises(ParamsError, match=r"names 'fusoin'.*given, fusion.*Did you mean 'fusion'"):
        refine("agreement", {"given": source([0]), "fusion": source([0])}, sources=["fusoin"])


# --- Dawid and Skene --------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # crowd-kit's own calls of pandas
def test_dawid_skene_agrees_with_crowd_kit():
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 4, 200)
    confusions = rng.dirichlet(np.ones(4), (5, 4)) * 0.5 + 0.5 * np.eye(4)
    votes = np.array([[rng.choice(4, p=matrix[t]) for t in truth] for matrix in confusions])
    votes[rng.random(votes.shape) < 0.3] = -1
    votes[:, :3] = -1
    votes[0, :3] = truth[:3]
    table = pandas.DataFrame(
        [
            (clip, worker, votes[worker, clip])
            for worker, clip in zip(*np.nonzero(votes >= 0), strict=True)
        ],
        columns=["task", "worker", "label"],
    )
    theirs = DawidSkene(n_iter=40, tol=0).fit(table).probas_.sort_index()[[0, 1, 2, 3]]
    posterior, confusion = fit(votes, np.zeros((4, 4)), 40, 0.0)
    assert not posterior[np.setdiff1d(np.arange(200), theirs.index)].any()
    assert np.abs(posterior[theirs.index] - theirs.to_numpy()).max() < 1e-6
    assert confusion.sum(axis=2) == pytest.approx(np.ones((5, 4)))


def test_dawid_skene_learns_that_a_source_always_swaps_two_classes():
    """A majority vote fails where most sources confuse the same classes."""
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 3, 600)
    votes = {"given": source(noisy(truth, 0.85, rng), "given")}
    for number in range(3):
        swapped = np.where((truth == 0) & (rng.random(600) < 0.9), 1, truth)
        votes[f"s{number}"] = source(np.where(rng.random(600) < 0.9, swapped, 2))
    majority = refine("vote", votes).argmax(axis=1)
    posterior = refine("dawid_skene", votes).argmax(axis=1)
    assert (posterior == truth).mean() > (majority == truth).mean() + 0.05


def test_dawid_skene_does_not_take_a_source_with_one_error_for_worse_than_chance():
    truth = np.array([0, 1, 2] * 4)
    once = np.where(np.arange(12) == 0, 1, -1)
    votes = np.array([truth, truth, truth, once])
    _, flat = fit(votes, np.full((3, 3), 0.1), 100, 1e-6)
    _, confusion = fit(votes, 0.1 + 10 * np.eye(3), 100, 1e-6)
    assert flat[3, 0, 0] < 1 / 3 < confusion[3, 0, 0]


def test_dawid_skene_has_no_posterior_for_a_clip_without_votes():
    votes = np.array([[0, 1, -1, 2], [0, 1, -1, 1]])
    posterior, _ = fit(votes, np.full((3, 3), 0.1), 50, 1e-6)
    assert not posterior[2].any() and posterior[[0, 1, 3]].sum(axis=1) == pytest.approx(np.ones(3))


# --- confident learning -----------------------------------------------------------------------


def test_confident_learning_follows_models_only_where_the_label_is_an_issue():
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 3, 300)
    given = truth.copy()
    given[:20] = (truth[:20] + 1) % 3
    models = 0.85 * np.eye(3)[truth] + 0.15 * rng.dirichlet(np.ones(3), 300)
    votes = {"given": source(given, "given"), "fusion": SourceVotes("out_of_fold", models)}
    posterior = refine("confident_learning", votes)
    assert (posterior[:20].argmax(axis=1) == truth[:20]).mean() > 0.9
    assert (posterior[20:] == np.eye(3)[given[20:]]).all()


def test_confident_learning_without_a_model_keeps_every_label():
    votes = {"given": source([0, 1, 2], "given"), "s": source([1, 2, 0])}
    assert refine("confident_learning", votes).tolist() == np.eye(3).tolist()


def test_confident_learning_accepts_a_class_without_clips():
    votes = {"given": source([0, 1] * 20, "given"),
             "fusion": SourceVotes("out_of_fold", one_hot([0, 1] * 20))}  # fmt: skip
    assert refine("confident_learning", votes).argmax(axis=1).tolist() == [0, 1] * 20


def test_models_are_combined_to_the_fusion_or_the_mean_of_the_others_where_it_has_no_vote():
    models = {"a": source([0, 0]), "b": source([0, 1]), "fusion": source([2, -1])}
    assert combine_models(models).tolist() == [[0, 0, 1], [0.5, 0.5, 0]]


# --- decisions --------------------------------------------------------------------------------

POSTERIOR = np.array([[0.2, 0.7, 0.1]])


@pytest.mark.parametrize(
    ("disagreement", "name", "soft", "weight"),
    [
        ("keep", "kept", [1, 0, 0], 1.0),
        ("soften", "softened", [0.2, 0.7, 0.1], 1.0),
        ("downweight", "downweighted", [1, 0, 0], 0.2),
        ("relabel", "relabelled", [0, 1, 0], 1.0),
        ("drop", "dropped", [1, 0, 0], 0.0),
    ],
)
def test_each_policy_sets_target_and_weight(disagreement, name, soft, weight):
    (decision,) = decide(one_hot([0]), POSTERIOR, CLASSES, disagreement, 0.0)
    assert (decision.name, list(decision.soft), decision.weight) == (name, soft, weight)
    assert decision.reason == "happy 0.70 against angry 0.20"


def test_a_label_stands_below_min_confidence():
    (decision,) = decide(one_hot([0]), POSTERIOR, CLASSES, "relabel", 0.71)
    assert decision.name == "kept" and "below 0.71" in decision.reason
    (decision,) = decide(one_hot([0]), POSTERIOR, CLASSES, "relabel", 0.7)
    assert decision.name == "relabelled"


def test_the_given_label_wins_a_tie():
    (decision,) = decide(one_hot([2]), np.array([[0.5, 0.0, 0.5]]), CLASSES, "relabel", 0.0)
    assert (decision.name, decision.soft) == ("kept", (0.0, 0.0, 1.0))


def test_a_clip_without_posterior_keeps_its_label():
    (decision,) = decide(one_hot([1]), np.zeros((1, 3)), CLASSES, "drop", 0.0)
    assert (decision.name, decision.soft, decision.weight) == ("kept", (0.0, 1.0, 0.0), 1.0)


# --- polarity ---------------------------------------------------------------------------------


def test_polarity_votes_for_the_classes_of_that_polarity():
    good, bad, nothing, unknown = polarity_votes([0.8, -0.8, 0.0, None], CLASSES).probs
    assert good.argmax() == CLASSES.index("happy")
    assert bad[CLASSES.index("happy")] < min(bad[CLASSES.index("sad")], bad[CLASSES.index("angry")])
    assert not nothing.any() and not unknown.any()


# --- example ----------------------------------------------------------------------------------


def test_the_example_relabels_only_where_the_models_are_sure():
    sure, unsure, other = [0.95, 0.05, 0.0], [0.6, 0.4, 0.0], [0.0, 0.0, 1.0]
    votes = {
        "given": source([1, 1, 2], "given"),
        "audio/mine": SourceVotes("out_of_fold", np.array([sure, unsure, other])),
    }
    assert refine("example", votes).argmax(axis=1).tolist() == [0, 1, 2]
    assert refine("example", votes, threshold=0.5).argmax(axis=1).tolist() == [0, 0, 2]
