"""Refine the labels of a corpus: collect votes, decide on labels, add pseudo-labels."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from ecmf import registry
from ecmf.data.enriched_text import EnrichedText
from ecmf.data.label_table import Label, hard_label
from ecmf.data.manifest import UNLABELLED_SPLITS, Clip
from ecmf.data.splits import Indices
from ecmf.errors import ParamsError, StoreError
from ecmf.metrics import weighted_f1
from ecmf.params import RefineLabels, Table
from ecmf.probabilities import Probabilities
from ecmf.refinement import label_sources
from ecmf.refinement.base import Refiner, SourceKind, SourceVotes, combine_models
from ecmf.refinement.decision_rules import Decision, decide
from ecmf.refinement.out_of_fold import OutOfFoldPredictor
from ecmf.refinement.pseudo_labels import PseudoLabelSelector
from ecmf.storage.files import verify_sha256
from ecmf.training.source_reading import paths_with_rows
from ecmf.training.targets import class_targets
from ecmf.training.task import Targets

REMEDY = "name the csv in refine_labels, with its sha256"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SelfTrainingRound:
    """One round of self-training.

    `added` is the number of pseudo-labelled clips in training. `waf` is the out-of-fold score on
    the training split, against its refined labels. A round is `accepted` if `waf` improved.
    """

    added: int
    waf: float
    accepted: bool


@dataclass(frozen=True)
class RefinedLabels:
    """The label of every clip, the votes of each source on `voted_clips`, and the rounds."""

    labels: list[Label]
    voted_clips: Indices
    votes: dict[str, SourceVotes]
    rounds: list[SelfTrainingRound]


@dataclass(frozen=True)
class LabelRefinement:
    """Refine the labels of the training split, and pseudo-label unlabelled clips.

    A corpus without a test split is scored by cross-validation over its training split: there
    votes of models and pseudo-labels would leak labels of test clips, so there are none. Without a
    labelled training clip, or with a single class, no source votes and every label is copied.
    """

    clips: Sequence[Clip]
    classes: Sequence[str]
    texts: Sequence[EnrichedText]
    features: Mapping[str, Path]
    params: RefineLabels

    @cached_property
    def train(self) -> Indices:
        """Positions of the training clips."""
        return self._positions("train")

    @cached_property
    def unlabelled(self) -> Indices:
        """Positions of the clips that may get a pseudo-label."""
        return self._positions("unlabelled") if self._self_training else self.train[:0]

    @cached_property
    def voted_clips(self) -> Indices:
        """Positions of all voted clips, in the order of the votes."""
        return np.concatenate([self.train, self.unlabelled])

    @cached_property
    def predictor(self) -> OutOfFoldPredictor:
        """The out-of-fold models."""
        paths = paths_with_rows(self.features)
        return OutOfFoldPredictor(
            paths, self.clips, self.classes, self.train, self.unlabelled, self.params
        )

    @cached_property
    def refiner(self) -> Refiner:
        """The plugin of `refiners/`, built with its options."""
        refiner: Refiner = registry.build(
            "refiners", "Refiner", self.params.refiner, self.params.chosen_options
        )
        return refiner

    def __call__(self) -> RefinedLabels:
        """Decide on the training split, then add pseudo-labels if `pseudo_labels.rounds` > 0.

        Raises:
            StoreError: the texts are not of the clips of the manifest.
            ParamsError: no clip would be left to train on, or the corpus has too few groups.
        """
        if [text.clip_id for text in self.texts] != [clip.clip_id for clip in self.clips]:
            raise StoreError("the texts are not of the clips of the manifest: run `dvc repro`")
        if len(self.classes) < 2 or not len(self.train):
            return self._nothing_to_refine()
        votes = self._collect_votes()
        posterior = _without_unvoted(self.refiner(votes, self.classes), votes)
        training = decide(
            votes["given"].probs[: len(self.train)],
            posterior[: len(self.train)],
            self.classes,
            self.params.disagreement,
            self.params.min_confidence,
        )
        if "trusted" in votes:
            training = _apply_trusted(training, votes["trusted"].probs)
        if not any(decision.weight for decision in training):
            raise ParamsError(
                f"refine_labels: {self.params.disagreement} leaves no training clip to train on: "
                "choose another disagreement, or a min_confidence above 0"
            )
        decisions = dict(zip(self.train.tolist(), training, strict=True))
        rounds: list[SelfTrainingRound] = []
        if len(self.unlabelled):
            added, rounds, models = self._self_train(votes, decisions)
            decisions |= added
            votes |= {
                name: self._replace_unlabelled(votes[name], model)
                for name, model in models.items()
                if name in votes  # features without a row of these clips are not a source
            }
        row = {int(clip): number for number, clip in enumerate(self.voted_clips)}
        labels = [
            self._label(clip, decisions.get(i), _votes_as_text(votes, row.get(i), self.classes))
            for i, clip in enumerate(self.clips)
        ]
        counts = Counter(label.decision for label in labels)
        log.info("%s", ", ".join(f"{count} {name}" for name, count in counts.items()))
        return RefinedLabels(labels, self.voted_clips, votes, rounds)

    def _nothing_to_refine(self) -> RefinedLabels:
        """Return the labels of the manifest, for a corpus that has no other label to give."""
        log.info(
            "%d training clips are labelled, of %d classes: there is nothing to refine",
            len(self.train),
            len(self.classes),
        )
        no_votes = SourceVotes("given", np.zeros((0, len(self.classes))))
        labels = [self._label(clip, None, "") for clip in self.clips]
        return RefinedLabels(labels, self.train[:0], {"given": no_votes}, [])

    # --- votes --------------------------------------------------------------------------------

    def _collect_votes(self) -> dict[str, SourceVotes]:
        """Collect the votes that the refiner uses, without sources that have none."""
        kinds = self._source_kinds
        clips = [self.clips[i] for i in self.voted_clips]
        texts = [self.texts[i] for i in self.voted_clips]
        clip_ids = [clip.clip_id for clip in clips]
        given = label_sources.one_hot_labels(
            [clip.label if clip.split == "train" else "" for clip in clips], self.classes
        )
        votes = {"given": SourceVotes("given", given, {"from": "the manifest"})}
        if "annotators" in kinds:
            votes |= label_sources.annotator_votes(clips, self.classes)
        if "llm" in kinds:
            votes["llm"] = label_sources.llm_votes(texts, self.classes)
        if "text_cues" in kinds:
            polarities = [text.polarity for text in texts]
            votes["text_cues"] = label_sources.polarity_votes(polarities, self.classes)
        if "tables" in kinds:
            for name, table in self.params.tables.items():
                votes[name] = self._table_votes(table, clip_ids)
        if self.params.trusted is not None:
            trusted = self._table_votes(self.params.trusted, clip_ids)
            votes["trusted"] = replace(trusted, kind="trusted")
        if "out_of_fold" in kinds:
            votes |= self.predictor.votes(self._targets({}))
        return {
            name: source
            for name, source in votes.items()
            if name == "given" or source.has_vote.any()
        }

    def _table_votes(self, table: Table, clip_ids: Sequence[str]) -> SourceVotes:
        path = verify_sha256(table.path, table.sha256, REMEDY)
        provenance = {"file": path.name, "sha256": table.sha256}
        return label_sources.table_votes(path, provenance, clip_ids, self.classes)

    @property
    def _source_kinds(self) -> set[SourceKind]:
        kinds = set(self.refiner.source_kinds)
        if "out_of_fold" in kinds and not self._has_test:
            log.info("no test split: models do not vote, training clips are tested in folds")
            kinds.remove("out_of_fold")
        return kinds

    @property
    def _has_test(self) -> bool:
        return any(clip.split == "test" for clip in self.clips)

    @property
    def _self_training(self) -> bool:
        if not self.params.pseudo_labels.rounds:
            return False
        if "out_of_fold" not in self.refiner.source_kinds:
            raise ParamsError(
                f"refine_labels.refiner {self.params.refiner!r} with its options uses no model to "
                "pseudo-label clips: choose another (with `disagreement: keep` it changes no "
                "label), or set pseudo_labels.rounds to 0"
            )
        if not self._has_test:
            log.info("no test split: no pseudo-labels, training clips are tested in folds")
        return self._has_test

    def _positions(self, split: str) -> Indices:
        return np.array([i for i, clip in enumerate(self.clips) if clip.split == split], "int64")

    # --- self-training ------------------------------------------------------------------------

    def _self_train(
        self, votes: dict[str, SourceVotes], training: dict[int, Decision]
    ) -> tuple[dict[int, Decision], list[SelfTrainingRound], dict[str, SourceVotes]]:
        """Add pseudo-labels in rounds, while the models improve on the training split.

        Returns:
            Pseudo-labels by clip, the rounds, and the models that predicted these pseudo-labels.
        """
        truth = np.array([np.argmax(training[i].soft) for i in self.train])
        counted = np.array([training[i].weight > 0 for i in self.train])
        prior = np.bincount(truth[counted], minlength=len(self.classes)) / counted.sum()
        params = self.params.pseudo_labels
        select = PseudoLabelSelector(params, self.classes, prior)

        def predict(
            added: dict[int, Decision],
        ) -> tuple[dict[str, SourceVotes], Probabilities, float]:
            models = self.predictor.votes(self._targets(training | added))
            predicted = combine_models(models)[: len(self.train)].argmax(axis=1)
            posterior = self.refiner(votes | models, self.classes)
            waf = weighted_f1(truth[counted], predicted[counted])
            return models, posterior[len(self.train) :], waf

        models, posterior, best = predict({})
        rounds = [SelfTrainingRound(0, best, True)]
        accepted: dict[int, Decision] = {}
        labelling = models
        for _ in range(params.rounds):
            selected = select(posterior)
            added = {int(self.unlabelled[row]): decision for row, decision in selected.items()}
            if _effective_targets(added) == _effective_targets(accepted):
                break
            proposing = models
            models, posterior, waf = predict(added)
            improved = waf > best + params.min_gain
            rounds.append(SelfTrainingRound(len(added), waf, improved))
            log.info("%d pseudo-labels: WAF out of fold %.4f, before %.4f", len(added), waf, best)
            if not improved:
                break
            accepted, best, labelling = added, waf, proposing
        return accepted, rounds, labelling

    def _replace_unlabelled(self, source: SourceVotes, model: SourceVotes) -> SourceVotes:
        """Replace the votes of `source` on unlabelled clips by those of `model`."""
        train = len(self.train)
        probs = np.concatenate([source.probs[:train], model.probs[train:]])
        return replace(source, probs=probs)

    # --- labels -------------------------------------------------------------------------------

    def _targets(self, decisions: Mapping[int, Decision]) -> Targets:
        """Return the training targets: the decisions, or else the manifest's training labels."""
        soft = np.zeros((len(self.clips), len(self.classes)), "float32")
        weight = np.zeros(len(self.clips), "float32")
        given = [self.clips[i].label for i in self.train]
        soft[self.train] = label_sources.one_hot_labels(given, self.classes)
        weight[self.train] = 1
        for clip, decision in decisions.items():
            soft[clip], weight[clip] = decision.soft, decision.weight
        return class_targets(soft, weight, classes=self.classes)

    def _label(self, clip: Clip, decision: Decision | None, text: str) -> Label:
        if decision is None:
            labelled = bool(clip.label) and clip.split not in UNLABELLED_SPLITS
            name = "untouched" if labelled else clip.split
            label = clip.label if labelled else ""
            return replace(hard_label(clip.clip_id, label, self.classes, name), sources=text)
        label = self.classes[int(np.argmax(decision.soft))]
        return Label(
            clip.clip_id,
            label,
            decision.soft,
            decision.weight,
            decision.name,
            decision.reason,
            text,
        )


def _without_unvoted(posterior: Probabilities, votes: Mapping[str, SourceVotes]) -> Probabilities:
    """Return the posterior without rows that contradict a label as no source does on the clip.

    A rule that estimates how often labels are wrong (Dawid & Skene) infers such a row from other
    clips. It may be of a class that the models, which are silent there, cannot know.
    """
    given = votes["given"]
    contradicted = np.any(
        [s.has_vote & (s.top_class != given.top_class) for s in votes.values()], axis=0
    )
    inferred = given.has_vote & ~contradicted & (posterior.argmax(axis=1) != given.top_class)
    return np.where(inferred[:, None], 0.0, posterior)


def _votes_as_text(
    votes: Mapping[str, SourceVotes], row: int | None, classes: Sequence[str]
) -> str:
    """List the top class of each source with a vote on a clip, as `name=class; …`."""
    if row is None:
        return ""
    return "; ".join(
        f"{name}={classes[source.top_class[row]]}"
        for name, source in votes.items()
        if source.has_vote[row]
    )


def _effective_targets(decisions: Mapping[int, Decision]) -> dict[int, object]:
    """Return target and weight of each clip, without the reason."""
    return {clip: (decision.soft, decision.weight) for clip, decision in decisions.items()}


def _apply_trusted(decisions: list[Decision], trusted: Probabilities) -> list[Decision]:
    """Replace decisions on clips with a trusted label by that label."""
    return [
        Decision(tuple(label.tolist()), 1.0, "trusted", "known for sure") if label.any() else voted
        for voted, label in zip(decisions, trusted, strict=False)
    ]
