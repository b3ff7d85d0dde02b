"""Summarise the trained runs: validation scores, best epochs and numbers of parameters."""

from collections.abc import Sequence

import numpy as np

from ecmf.training.model_metadata import MemberMetadata, ModelMetadata


def summarise(metadata: ModelMetadata, monitor: str) -> dict[str, object]:
    """Summarise the runs of the first member, and of each member by name if there are several.

    `monitor` is the name of the validation score.
    """
    training = metadata.training
    by_name = {member.name: _summarise(member, training.seeds) for member in metadata.members}
    first = by_name[training.model]
    named = {"monitor": monitor, **first}
    return {**named, "members": by_name} if training.ensemble else named


def _summarise(member: MemberMetadata, seeds: Sequence[int]) -> dict[str, object]:
    scored = [run for run in member.runs if run.validation_score is not None]
    scores = [run.validation_score or 0.0 for run in scored]
    counts: dict[str, object] = {"runs": len(member.runs), "parameters": member.parameters}
    if chosen := {f"round{run.round}": run.sources for run in member.runs if run.sources}:
        counts["sources"] = chosen
    if not scores:
        return counts
    return {
        "validation_score": float(np.mean(scores)),
        "validation_score_deviation": float(np.std(scores)),
        "validation_score_by_seed": {
            str(seed): float(
                np.mean([run.validation_score or 0.0 for run in scored if run.seed == seed])
            )
            for seed in seeds
        },
        "best_epoch": float(np.mean([run.best_epoch for run in scored])),
        **counts,
    }
