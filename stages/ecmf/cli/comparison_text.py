"""Format comparisons of revisions for a terminal."""

from collections.abc import Sequence
from typing import Any

from ecmf.cli.scores import about_groups, heading
from ecmf.comparison.comparison import ChangedClip, Comparison
from ecmf.comparison.paired_statistics import Difference

COLUMN = 9
"""Least characters of the column of a revision's scores."""

VERDICTS = {1: "better", -1: "worse", 0: "no difference shown"}


def describe(found: Comparison, clips: int) -> str:
    """Describe one comparison, with at most `clips` of the changed clips."""
    lines = [*_score_table(found), "", sentence(found), _mcnemar(found), ""]
    lines += _changed_clips(found, clips)
    lines += _changes(found)
    return "\n".join(lines)


def sentence(found: Comparison) -> str:
    """Say whether there is a difference, by the interval of the first score."""
    score, name = found.scores[found.headline], heading(found.headline)
    interval = f"the 95 % interval of its difference in {name}, {_interval(score)},"
    if not found.disagree:
        return f"{found.other} decides every test clip as {found.baseline} does."
    if not score.sign:
        return (
            f"No difference between {found.other} and {found.baseline} is shown: "
            f"{interval} contains 0."
        )
    side = ("better", "above") if score.sign > 0 else ("worse", "below")
    return f"{found.other} is {side[0]} than {found.baseline}: {interval} is {side[1]} 0."


def table(comparisons: Sequence[Comparison]) -> str:
    """Format a line per revision against the baseline, with p-values after Holm's correction."""
    first = comparisons[0]
    name = heading(first.headline)
    width = max(len(each) for each in ("revision", first.baseline, *_others(comparisons)))
    lines = [f"{'revision':{width}}  {name:>6}  difference  95 % interval     p (Holm)"]
    baseline = first.scores[first.headline].baseline
    lines.append(f"{first.baseline:{width}}  {baseline:6.3f}  (baseline)")
    for found in comparisons:
        score = found.scores[found.headline]
        lines.append(
            f"{found.other:{width}}  {score.other:6.3f}  {score.difference:+10.3f}  "
            f"{_interval(score)}  {_p(found.p_holm)}  {VERDICTS[found.verdict]}"
        )
    certain = [found.other for found in comparisons if found.verdict]
    lines += [
        "",
        f"Corrected for {len(comparisons)} comparisons, "
        + (
            f"{', '.join(certain)} differ{'s' if len(certain) == 1 else ''} from {first.baseline}."
            if certain
            else f"none is shown to differ from {first.baseline}."
        ),
        _about(first),
        f"each in full: `ecmf compare {first.baseline} {first.other}`",
    ]
    return "\n".join(lines)


def _others(comparisons: Sequence[Comparison]) -> list[str]:
    return [found.other for found in comparisons]


def _about(found: Comparison) -> str:
    return f"{found.clips} test clips; {about_groups(found.groups, found.clips)}"


def _score_table(found: Comparison) -> list[str]:
    widths = [max(COLUMN, len(name)) for name in (found.baseline, found.other)]
    rows = {heading(name): score for name, score in found.scores.items()}
    rows |= {f"F1 {name}": score for name, score in found.f1.items()}
    first = max(map(len, rows))
    lines = [
        f"{'':{first}}  {found.baseline:>{widths[0]}}  {found.other:>{widths[1]}}  "
        "difference  95 % interval"
    ]
    for name, score in rows.items():
        lines.append(
            f"{name:{first}}  {score.baseline:{widths[0]}.3f}  {score.other:{widths[1]}.3f}  "
            f"{score.difference:+10.3f}  {_interval(score)}{'  *' if score.sign else ''}"
        )
    lines.append(f"{_about(found)}; * where it does not contain 0, each line for itself")
    return lines


def _interval(score: Difference) -> str:
    return f"{score.low:+.3f} to {score.high:+.3f}"


def _p(value: float) -> str:
    return f"= {value:.4f}" if value >= 0.0001 else "< 0.0001"


def _mcnemar(found: Comparison) -> str:
    test = found.mcnemar
    return (
        f"McNemar's exact test: {test.gained} clips right in {found.other} alone, {test.lost} in "
        f"{found.baseline} alone, p {_p(test.p)} (it takes clips of one group as independent)"
    )


def _changed_clips(found: Comparison, limit: int) -> list[str]:
    both_wrong = found.disagree - len(found.changed)
    lines = [
        f"{len(found.changed)} clips changed sides, and {both_wrong} from one wrong class to "
        f"another (shown: {min(limit, len(found.changed))}, the most confident first)"
    ]
    return lines + [_clip_line(clip) for clip in found.changed[:limit]]


def _clip_line(clip: ChangedClip) -> str:
    change = "gained" if clip.other == clip.label else "lost"
    return (
        f"  {change:6}  {clip.clip_id}, {clip.label}: {clip.baseline} "
        f"{clip.baseline_probability:.2f} -> {clip.other} {clip.other_probability:.2f}"
    )


def _changes(found: Comparison) -> list[str]:
    lines = [
        f"  {name}: {_value(before)} -> {_value(after)}"
        for name, (before, after) in found.params.items()
    ]
    files = [f"  {path}: {change}" for path, change in found.files.items()]
    return [
        *(["", "parameters that differ:", *lines] if lines else ["", "no parameter differs"]),
        *(["features, labels and code that differ:", *files] if files else []),
    ]


def _value(value: Any) -> str:
    return "absent" if value is None else str(value)
