"""What a trained model says of itself: `models/fusion/card.yaml`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ecmf.config import Section
from ecmf.data.features import Source
from ecmf.errors import MissingFileError, StoreError
from ecmf.params import TrainFusion
from ecmf.storage.files import write_text

CARD = "card.yaml"


class SourceCard(Section):
    """A source the model reads: its width, and all that fixed its numbers."""

    name: str
    dim: int
    provenance: dict[str, Any]


class RunCard(Section):
    """One training: who stops and tests it, its best epoch.

    `valence_clips` counts the clips it learned from whose valence is known. Where there are none, a
    member that tells a valence was taught nothing of it, and what it tells means nothing.
    """

    name: str
    seed: int
    round: int
    fold: int
    best_epoch: int
    validation_waf: float | None
    valence_clips: int
    validation_groups: list[str]
    test_groups: list[str]


class MemberCard(Section):
    """One model of the folder of fusion models: its learned numbers, and its trainings."""

    name: str
    parameters: int
    runs: list[RunCard]


class Card(Section):
    """Everything needed to build the models again and to know what they may be shown."""

    classes: list[str]
    training: TrainFusion
    sources: list[SourceCard]
    members: list[MemberCard]

    def check_sources(self, sources: Sequence[Source]) -> None:
        """Refuse features of another encoder than the model was trained on.

        Raises:
            StoreError: names the source and what differs.
        """
        trained = ", ".join(known.name for known in self.sources)
        read = ", ".join(found.name for found in sources)
        if trained != read:
            raise StoreError(
                f"the model was trained on {trained}, these are {read}: "
                "set the tables of encoders back, or train again"
            )
        for known, found in zip(self.sources, sources, strict=True):
            for key in sorted({*known.provenance, *found.provenance}):
                trained_on, given = known.provenance.get(key), found.provenance.get(key)
                if trained_on != given:
                    raise StoreError(
                        f"the model was trained on features {known.name} with "
                        f"{key} {trained_on!r}, "
                        f"these have {given!r}: encode with the same parameters, or train again"
                    )


def weights_of(folder: Path, member: str, run: str) -> Path:
    """Return where the weights of a training lie."""
    return folder / member / f"{run}.safetensors"


def write_card(card: Card, folder: Path) -> None:
    """Write the card into the folder of the model."""
    content = yaml.safe_dump(
        card.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100
    )
    write_text(folder / CARD, content)


def read_card(folder: Path) -> Card:
    """Read the card of the model in `folder`; MissingFileError if there is none."""
    path = folder / CARD
    if not path.is_file():
        raise MissingFileError(
            f"no model in {folder}/ (no {CARD}): `dvc repro train_fusion` makes it"
        )
    try:
        return Card.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, ValidationError) as error:
        raise StoreError(
            f"{path} is no card of this version: train again with `dvc repro train_fusion`"
        ) from error
