"""Given labels and every other opinion -> what each clip is to be learned as, and why."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from ecmf import registry
from ecmf.data.enriched_text import EnrichedText
from ecmf.data.label_table import Label, given_label
from ecmf.data.manifest import WITHOUT_LABEL, Clip
from ecmf.errors import ParamsError, StoreError
from ecmf.metrics import weighted_f1
from ecmf.params import RefineLabels, Table
from ecmf.probabilities import Shares
from ecmf.refinement import label_sources as said
from ecmf.refinement.base import Kind, Opinion, Refiner, joint
from ecmf.refinement.decision_rules import Decision, decide
from ecmf.refinement.out_of_fold import Ballot, Indices
from ecmf.refinement.pseudo_labels import Selector
from ecmf.storage.files import verified
from ecmf.training.targets import Targets

REMEDY = "name the csv in refine_labels, with its sha256"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Round:
    """One round of self-training.

    `added` counts the pseudo-labelled clips the models learned from, `waf` is what they then say of
    the training split out of fold, against its refined labels; `kept` tells whether that gained.
    """

    added: int
    waf: float
    kept: bool


@dataclass(frozen=True)
class Refined:
    """The label of every clip, what every source said of the clips it was asked, and the rounds."""

    labels: list[Label]
    asked: Indices
    opinions: dict[str, Opinion]
    rounds: list[Round]


@dataclass(frozen=True)
class Refinement:
    """All that a corpus offers for deciding on labels.

    A corpus without test split is scored by cross-validation over its training split. There models
    get no vote and no clip a pseudo-label, for that would carry the labels of the clips that are to
    be tested.
    """

    clips: Sequence[Clip]
    classes: Sequence[str]
    texts: Sequence[EnrichedText]
    features: Mapping[str, Path]
    params: RefineLabels

    @cached_property
    def train(self) -> Indices:
        """Positions of the clips whose labels are decided on."""
        return self._of("train")

    @cached_property
    def unlabelled(self) -> Indices:
        """Positions of the clips that may get a pseudo-label."""
        return self._of("unlabelled") if self._self_training else self.train[:0]

    @cached_property
    def asked(self) -> Indices:
        """Positions of all clips the sources are asked about, in the order of their opinions."""
        return np.concatenate([self.train, self.unlabelled])

    @cached_property
    def ballot(self) -> Ballot:
        """The models that vote."""
        return Ballot(
            self.features, self.clips, self.classes, self.train, self.unlabelled, self.params
        )

    @cached_property
    def refiner(self) -> Refiner:
        """The chosen member of `refiners/` with its options."""
        name = self.params.refiner
        options = self.params.options.get(name, {})
        refiner: Refiner = registry.create("refiners", "Refiner", name, options)
        return refiner

    def __call__(self) -> Refined:
        """Decide on the training split, then add pseudo-labels where they are asked for.

        Raises:
            StoreError: the texts are not those of the clips.
            ParamsError: the parameters leave nothing to learn from, or do not fit the corpus.
        """
        if [text.clip_id for text in self.texts] != [clip.clip_id for clip in self.clips]:
            raise StoreError(
                "the texts are not those of the manifest in its order: `dvc repro` makes them anew"
            )
        opinions = self._gather()
        given = opinions["given"].shares[: len(self.train)]
        believed = self.refiner(opinions, self.classes)
        decisions = decide(
            given,
            believed[: len(self.train)],
            self.classes,
            self.params.disagreement,
            self.params.least_confidence,
        )
        if "trusted" in opinions:
            decisions = _with_trusted(decisions, opinions["trusted"].shares)
        if not any(made.weight for made in decisions):
            raise ParamsError(
                f"refine_labels: {self.params.disagreement} leaves no training clip to learn from: "
                "choose another disagreement, or a least_confidence above 0"
            )
        made = dict(zip(self.train.tolist(), decisions, strict=True))
        rounds: list[Round] = []
        if len(self.unlabelled):
            added, rounds, models = self._self_train(opinions, made)
            made |= added
            opinions |= {
                name: self._joined(opinions[name], one)
                for name, one in models.items()
                if name in opinions  # a branch without any row is no source
            }
        row = {int(clip): number for number, clip in enumerate(self.asked)}
        labels = [
            self._label(clip, made.get(i), _heard(opinions, row.get(i), self.classes))
            for i, clip in enumerate(self.clips)
        ]
        counts = Counter(label.decision for label in labels)
        log.info("%s", ", ".join(f"{count} {name}" for name, count in counts.items()))
        return Refined(labels, self.asked, opinions, rounds)

    # --- who says what ------------------------------------------------------------------------

    def _gather(self) -> dict[str, Opinion]:
        """Ask every source the refiner reads; those that say nothing at all are left out."""
        kinds = self._kinds
        clips = [self.clips[i] for i in self.asked]
        texts = [self.texts[i] for i in self.asked]
        clip_ids = [clip.clip_id for clip in clips]
        given = said.as_shares(
            [clip.label if clip.split == "train" else "" for clip in clips], self.classes
        )
        opinions = {"given": Opinion("given", given, {"from": "the manifest"})}
        if "annotators" in kinds:
            opinions |= said.of_annotators(clips, self.classes)
        if "llm" in kinds:
            opinions["llm"] = said.of_llm(texts, self.classes)
        if "text_cues" in kinds:
            opinions["text_cues"] = said.of_polarity([one.polarity for one in texts], self.classes)
        if "tables" in kinds:
            for name, table in self.params.tables.items():
                opinions[name] = self._of_table(table, clip_ids)
        if self.params.trusted is not None:
            known = self._of_table(self.params.trusted, clip_ids)
            opinions["trusted"] = replace(known, kind="trusted")
        if "out_of_fold" in kinds:
            opinions |= self.ballot.opinions(self._targets({}))
        return {name: one for name, one in opinions.items() if name == "given" or one.speaks.any()}

    def _of_table(self, table: Table, clip_ids: Sequence[str]) -> Opinion:
        path = verified(table.path, table.sha256, REMEDY)
        about = {"file": path.name, "sha256": table.sha256}
        return said.of_table(path, about, clip_ids, self.classes)

    @property
    def _kinds(self) -> set[Kind]:
        kinds = set(self.refiner.reads)
        if "out_of_fold" in kinds and not self._has_test:
            log.info("no test split: models get no vote, the training clips will be tested in turn")
            kinds.remove("out_of_fold")
        return kinds

    @property
    def _has_test(self) -> bool:
        return any(clip.split == "test" for clip in self.clips)

    @property
    def _self_training(self) -> bool:
        if not self.params.pseudo_labels.rounds:
            return False
        if "out_of_fold" not in self.refiner.reads:
            raise ParamsError(
                f"refine_labels.refiner {self.params.refiner!r} with its options asks no model, so "
                "there is nothing to pseudo-label with: choose another (with `disagreement: keep` "
                "it changes no label), or set pseudo_labels.rounds to 0"
            )
        if not self._has_test:
            log.info("no test split: no pseudo-labels, the training clips will be tested in turn")
        return self._has_test

    def _of(self, split: str) -> Indices:
        return np.array([i for i, clip in enumerate(self.clips) if clip.split == split], "int64")

    # --- self-training ------------------------------------------------------------------------

    def _self_train(
        self, opinions: dict[str, Opinion], refined: dict[int, Decision]
    ) -> tuple[dict[int, Decision], list[Round], dict[str, Opinion]]:
        """Add pseudo-labels in rounds, as long as the models get better on the training split.

        Returns:
            Clip -> its pseudo-label, the rounds, and the models that these pseudo-labels are of.
        """
        truth = np.array([np.argmax(refined[i].soft) for i in self.train])
        counted = np.array([refined[i].weight > 0 for i in self.train])
        prior = np.bincount(truth[counted], minlength=len(self.classes)) / counted.sum()
        params = self.params.pseudo_labels
        select = Selector(params, self.classes, prior)

        def vote(added: dict[int, Decision]) -> tuple[dict[str, Opinion], Shares, float]:
            models = self.ballot.opinions(self._targets(refined | added))
            together = joint(models)[: len(self.train)].argmax(axis=1)
            believed = self.refiner(opinions | models, self.classes)
            waf = weighted_f1(truth[counted], together[counted])
            return models, believed[len(self.train) :], waf

        models, believed, best = vote({})
        rounds = [Round(0, best, True)]
        accepted: dict[int, Decision] = {}
        deciding = models
        for _ in range(params.rounds):
            chosen = select(believed)
            added = {int(self.unlabelled[row]): made for row, made in chosen.items()}
            if _learned(added) == _learned(accepted):
                break
            proposing = models
            models, believed, waf = vote(added)
            gained = waf > best + params.least_gain
            rounds.append(Round(len(added), waf, gained))
            log.info("%d pseudo-labels: WAF out of fold %.4f, before %.4f", len(added), waf, best)
            if not gained:
                break
            accepted, best, deciding = added, waf, proposing
        return accepted, rounds, deciding

    def _joined(self, training: Opinion, unlabelled: Opinion) -> Opinion:
        """Votes on training clips from one opinion, on unlabelled ones from another."""
        split = len(self.train)
        shares = np.concatenate([training.shares[:split], unlabelled.shares[split:]])
        return Opinion(training.kind, shares, training.provenance)

    # --- labels -------------------------------------------------------------------------------

    def _targets(self, decisions: Mapping[int, Decision]) -> Targets:
        """What models learn: the decisions, and the given label where none has fallen yet."""
        soft = np.zeros((len(self.clips), len(self.classes)), "float32")
        weight = np.zeros(len(self.clips), "float32")
        soft[self.train] = said.as_shares([self.clips[i].label for i in self.train], self.classes)
        weight[self.train] = 1
        for clip, made in decisions.items():
            soft[clip], weight[clip] = made.soft, made.weight
        return Targets(soft, weight)

    def _label(self, clip: Clip, made: Decision | None, heard: str) -> Label:
        if made is None:
            known = bool(clip.label) and clip.split not in WITHOUT_LABEL
            decision = "untouched" if known else clip.split
            label = clip.label if known else ""
            return replace(given_label(clip.clip_id, label, self.classes, decision), sources=heard)
        label = self.classes[int(np.argmax(made.soft))]
        return Label(clip.clip_id, label, made.soft, made.weight, made.name, made.reason, heard)


def _heard(opinions: Mapping[str, Opinion], row: int | None, classes: Sequence[str]) -> str:
    """What each source that has an opinion on this clip finds most likely."""
    if row is None:
        return ""
    return "; ".join(
        f"{name}={classes[one.said[row]]}" for name, one in opinions.items() if one.speaks[row]
    )


def _learned(decisions: Mapping[int, Decision]) -> dict[int, tuple[tuple[float, ...], float]]:
    """What is learned of clips, whatever the reason."""
    return {clip: (made.soft, made.weight) for clip, made in decisions.items()}


def _with_trusted(decisions: list[Decision], trusted: Shares) -> list[Decision]:
    """Let what is known for sure stand above every vote."""
    return [
        Decision(tuple(known.tolist()), 1.0, "trusted", "known for sure") if known.any() else made
        for made, known in zip(decisions, trusted, strict=False)
    ]
