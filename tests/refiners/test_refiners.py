"""What each refiner makes of opinions, and what becomes of the labels it does not believe."""

import numpy as np
import pandas
import pytest
from crowdkit.aggregation import DawidSkene

from ecmf import registry
from ecmf.errors import ParamsError
from ecmf.refinement.base import Opinion, joint
from ecmf.refinement.decision_rules import decide
from ecmf.refinement.label_sources import of_polarity
from ecmf.refiners.dawid_skene import fit

CLASSES = ("angry", "happy", "sad")
RNG = np.random.default_rng(0)


def refine(refiner, opinions, **options):
    return registry.create("refiners", "Refiner", refiner, options)(opinions, CLASSES)


def one_hot(said):
    return np.eye(3)[said] * (np.asarray(said) >= 0)[:, None]


def source(said, kind="tables"):
    return Opinion(kind, one_hot(np.asarray(said)))


def said_by(truth, right, rng):
    """A source that is right in a share of the clips, else says any other class."""
    wrong = (truth + rng.integers(1, 3, len(truth))) % 3
    return np.where(rng.random(len(truth)) < right, truth, wrong)


@pytest.fixture
def crowd():
    """300 clips whose label is right 8 times of 10, and four sources of unlike worth."""
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 3, 300)
    opinions = {"given": source(said_by(truth, 0.8, rng), "given")}
    for number, right in enumerate((0.95, 0.4, 0.4, 0.4)):
        opinions[f"s{number}"] = source(said_by(truth, right, rng))
    return truth, opinions


@pytest.mark.parametrize("refiner", registry.names("refiners"))
def test_beliefs_are_probabilities_or_nothing(refiner, crowd):
    _, opinions = crowd
    sources = {"sources": ["s0", "s1"]} if refiner == "agreement" else {}
    opinions["audio/mine"] = Opinion("out_of_fold", RNG.dirichlet(np.ones(3), 300))
    believed = refine(refiner, opinions, **sources)
    assert believed.shape == (300, 3) and (believed >= 0).all()
    assert np.isin(believed.sum(axis=1).round(9), (0, 1)).all()


# --- vote -------------------------------------------------------------------------------------


def test_sources_that_agree_more_weigh_more(crowd):
    truth, opinions = crowd
    plain = refine("vote", opinions).argmax(axis=1)
    weighed = refine("vote", opinions, weights="agreement").argmax(axis=1)
    assert (weighed == truth).mean() > (plain == truth).mean() + 0.05


def test_weights_follow_the_clips_whose_label_is_known(crowd):
    """Most sources repeat one another's mistake; twenty trusted clips tell."""
    truth, opinions = crowd
    for name in ("s1", "s2", "s3"):
        opinions[name] = source((truth + 1) % 3)
    known = np.where(np.arange(300) < 20, truth, -1)
    opinions["trusted"] = source(known, "trusted")
    rest = np.arange(300) >= 20
    weighed = refine("vote", opinions, weights="agreement").argmax(axis=1)
    assert (weighed == truth)[rest].mean() > 0.9
    del opinions["trusted"]
    assert (refine("vote", opinions, weights="agreement").argmax(axis=1) == truth)[
        rest
    ].mean() < 0.1


def test_models_are_one_voice():
    """Ten classifiers that learned from the same labels do not outvote two people."""
    opinions = {"given": source([0], "given"), "a": source([0], "annotators")}
    opinions |= {f"audio/{n}": source([1], "out_of_fold") for n in range(10)}
    assert refine("vote", opinions)[0].tolist() == pytest.approx([2 / 3, 1 / 3, 0])
    opinions["fusion"] = source([2], "out_of_fold")
    assert refine("vote", opinions)[0].tolist() == pytest.approx([2 / 3, 0, 1 / 3])


def test_a_clip_nobody_counts_for_believes_nothing():
    assert not refine("vote", {"given": source([1], "given")}, given=0.0).any()


# --- agreement --------------------------------------------------------------------------------


def test_only_where_all_named_sources_speak_and_agree_is_anything_believed():
    opinions = {"given": source([0, 0, 0, 0], "given"),
                "a": source([1, 1, -1, 2]), "b": source([1, 2, 1, 2])}  # fmt: skip
    believed = refine("agreement", opinions, sources=["a", "b"])
    assert believed.tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, 1]]


def test_an_unknown_source_is_named_with_those_there_are():
    with pytest.raises(ParamsError, match=r"names 'fusoin'.*given, fusion.*Did you mean 'fusion'"):
        refine("agreement", {"given": source([0]), "fusion": source([0])}, sources=["fusoin"])


# --- Dawid and Skene --------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # crowd-kit's own calls of pandas
def test_dawid_skene_finds_what_crowd_kit_finds():
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 4, 400)
    confusions = rng.dirichlet(np.ones(4), (5, 4)) * 0.5 + 0.5 * np.eye(4)
    votes = np.array([[rng.choice(4, p=one[t]) for t in truth] for one in confusions])
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
    theirs = DawidSkene(n_iter=200, tol=1e-12).fit(table).probas_.sort_index()[[0, 1, 2, 3]]
    posterior, confusion = fit(votes, 4, 200, 1e-12, 0.0)
    assert not posterior[np.setdiff1d(np.arange(400), theirs.index)].any()
    assert np.abs(posterior[theirs.index] - theirs.to_numpy()).max() < 1e-3
    assert confusion.sum(axis=2) == pytest.approx(np.ones((5, 4)))


def test_dawid_skene_learns_that_a_source_always_swaps_two_classes():
    """A majority is of no use where two of three sources mix the same classes up."""
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 3, 600)
    opinions = {"given": source(said_by(truth, 0.85, rng), "given")}
    for number in range(3):
        swapped = np.where((truth == 0) & (rng.random(600) < 0.9), 1, truth)
        opinions[f"s{number}"] = source(np.where(rng.random(600) < 0.9, swapped, 2))
    majority = refine("vote", opinions).argmax(axis=1)
    believed = refine("dawid_skene", opinions).argmax(axis=1)
    assert (believed == truth).mean() > (majority == truth).mean() + 0.05


def test_where_nobody_spoke_dawid_skene_believes_nothing():
    posterior, _ = fit(np.array([[0, 1, -1, 2], [0, 1, -1, 1]]), 3, 50, 1e-6, 0.1)
    assert not posterior[2].any() and posterior[[0, 1, 3]].sum(axis=1) == pytest.approx(np.ones(3))


# --- confident learning -----------------------------------------------------------------------


def test_confident_learning_believes_models_only_where_the_label_is_an_issue():
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 3, 300)
    given = truth.copy()
    given[:20] = (truth[:20] + 1) % 3
    models = 0.85 * np.eye(3)[truth] + 0.15 * rng.dirichlet(np.ones(3), 300)
    opinions = {"given": source(given, "given"), "fusion": Opinion("out_of_fold", models)}
    believed = refine("confident_learning", opinions)
    assert (believed[:20].argmax(axis=1) == truth[:20]).mean() > 0.9
    assert (believed[20:] == np.eye(3)[given[20:]]).all()


def test_confident_learning_without_a_model_believes_every_label():
    opinions = {"given": source([0, 1, 2], "given"), "s": source([1, 2, 0])}
    assert refine("confident_learning", opinions).tolist() == np.eye(3).tolist()


def test_confident_learning_survives_a_class_that_no_clip_has():
    opinions = {"given": source([0, 1] * 20, "given"),
                "fusion": Opinion("out_of_fold", one_hot([0, 1] * 20))}  # fmt: skip
    assert refine("confident_learning", opinions).argmax(axis=1).tolist() == [0, 1] * 20


def test_the_fusion_speaks_for_the_models_and_the_others_where_it_is_silent():
    models = {"a": source([0, 0]), "b": source([0, 1]), "fusion": source([2, -1])}
    assert joint(models).tolist() == [[0, 0, 1], [0.5, 0.5, 0]]


# --- decisions --------------------------------------------------------------------------------

BELIEVED = np.array([[0.2, 0.7, 0.1]])


@pytest.mark.parametrize(
    ("disagreement", "name", "soft", "weight"),
    [
        ("keep", "kept", [1, 0, 0], 1.0),
        ("soften", "softened", [0.2, 0.7, 0.1], 1.0),
        ("weigh_down", "weighed_down", [1, 0, 0], 0.2),
        ("relabel", "relabelled", [0, 1, 0], 1.0),
        ("drop", "dropped", [1, 0, 0], 0.0),
    ],
)
def test_a_label_that_is_not_believed_becomes_what_was_chosen(disagreement, name, soft, weight):
    (made,) = decide(one_hot([0]), BELIEVED, CLASSES, disagreement, 0.0)
    assert (made.name, list(made.soft), made.weight) == (name, soft, weight)
    assert made.reason == "happy 0.70 against angry 0.20"


def test_a_label_is_doubted_only_from_the_least_confidence_on():
    (made,) = decide(one_hot([0]), BELIEVED, CLASSES, "relabel", 0.71)
    assert made.name == "kept" and "below 0.71" in made.reason
    (made,) = decide(one_hot([0]), BELIEVED, CLASSES, "relabel", 0.7)
    assert made.name == "relabelled"


def test_the_given_label_wins_a_tie():
    (made,) = decide(one_hot([2]), np.array([[0.5, 0.0, 0.5]]), CLASSES, "relabel", 0.0)
    assert (made.name, made.soft) == ("kept", (0.0, 0.0, 1.0))


def test_a_clip_of_which_nothing_is_believed_keeps_its_label():
    (made,) = decide(one_hot([1]), np.zeros((1, 3)), CLASSES, "drop", 0.0)
    assert (made.name, made.soft, made.weight) == ("kept", (0.0, 1.0, 0.0), 1.0)


# --- words ------------------------------------------------------------------------------------


def test_words_speak_for_the_classes_they_go_with():
    good, bad, nothing, unknown = of_polarity([0.8, -0.8, 0.0, None], CLASSES).shares
    assert good.argmax() == CLASSES.index("happy")
    assert bad[CLASSES.index("happy")] < min(bad[CLASSES.index("sad")], bad[CLASSES.index("angry")])
    assert not nothing.any() and not unknown.any()
