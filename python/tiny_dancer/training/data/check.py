"""What is wrong, doubtful or worth knowing about an outcomes table, before anything is trained on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer import _core
from tiny_dancer.evaluation.missing import observed
from tiny_dancer.training.data.extraction import suspicions
from tiny_dancer.training.data.findings import DataReport, Finding, ModelSummary, examples
from tiny_dancer.training.data.kin import Kin, duplicates, leaks

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from tiny_dancer.training.data.findings import Severity
    from tiny_dancer.types import Outcomes

MINIMUM_ROWS = 30
FEW_ROWS = 300
MINIMUM_GROUPS = 5
LARGE_GROUP = 0.2
FEW_TASK_ROWS = 20
FEW_DIFFERENCES = 50
DIFFERENCE_SHARE = 0.05
MOSTLY_MISSING = 0.5
NOISY = 0.1


def check_outcomes(outcomes: Outcomes) -> DataReport:
    """Looks at a table and reports; changes nothing, prints nothing.

    Duplicates, passages and leaks are told from features; without them only equal texts are found.
    """
    kin = Kin.of(outcomes)
    findings = [
        *_size(outcomes, kin.joined),
        *_models(outcomes),
        *_missing(outcomes, kin.joined),
        *_differences(outcomes),
        *_costs(outcomes),
        *_extraction(outcomes),
        *duplicates(outcomes, kin),
        *leaks(outcomes, kin),
        *_noise(outcomes),
        *_texts(outcomes),
    ]
    order = ("error", "warning", "note")
    findings.sort(key=lambda finding: order.index(finding.severity))
    names, counts = np.unique(np.array(outcomes.task), return_counts=True)
    return DataReport(
        rows=len(outcomes),
        groups=len(np.unique(kin.joined)),
        tasks=tuple((str(name), int(count)) for name, count in zip(names, counts, strict=True)),
        models=tuple(_summary(outcomes, index) for index in range(len(outcomes.models))),
        findings=tuple(findings),
    )


def _summary(outcomes: Outcomes, index: int) -> ModelSummary:
    quality = outcomes.quality[:, index]
    cost = outcomes.cost[:, index] if outcomes.cost is not None else np.empty(0)
    return ModelSummary(outcomes.models[index], int((~np.isnan(quality)).sum()), _mean(quality), _mean(cost))


def _mean(values: npt.NDArray[np.float64]) -> float:
    present = values[~np.isnan(values)]
    return float(present.mean()) if len(present) else float("nan")


def _size(outcomes: Outcomes, joined: npt.NDArray[np.int64]) -> Iterator[Finding]:
    rows = len(outcomes)
    if rows < MINIMUM_ROWS:
        message = f"{rows} rows are too few to hold any out"
        yield Finding("error", "tiny_table", "table", message, f"bring at least {FEW_ROWS} rows", count=rows)
    elif rows < FEW_ROWS:
        message = f"{rows} rows: intervals will be wide and certificates unlikely"
        yield Finding("warning", "tiny_table", "table", message, f"bring {FEW_ROWS} rows or more", count=rows)
    numbers, counts = np.unique(joined, return_counts=True)
    if len(numbers) < MINIMUM_GROUPS:
        message = f"{len(numbers)} groups are too few to split into {MINIMUM_GROUPS} folds"
        yield Finding("error", "few_groups", "group", message, "bring rows of more groups", count=rows)
    elif counts.max() > LARGE_GROUP * rows:
        members = np.flatnonzero(joined == numbers[counts.argmax()])
        message = f"one group holds {counts.max()} of {rows} rows: folds will be uneven"
        remedy = "check the group column"
        yield Finding(
            "warning", "large_group", "group", message, remedy, examples(outcomes, members), len(members)
        )
    tasks, sizes = np.unique(np.array(outcomes.task), return_counts=True)
    small = [
        f"{task} ({size})"
        for task, size in zip(tasks, sizes, strict=True)
        if size < FEW_TASK_ROWS and len(tasks) > 1
    ]
    if small:
        message = f"{len(small)} tasks have fewer than {FEW_TASK_ROWS} rows: {', '.join(small[:10])}"
        remedy = "do not read their figures one by one"
        yield Finding(
            "note", "small_task", "eval_name", message, remedy, count=int(sizes[sizes < FEW_TASK_ROWS].sum())
        )


def _models(outcomes: Outcomes) -> Iterator[Finding]:
    if len(outcomes.models) < 2:
        message = f"{len(outcomes.models)} model: there is nothing to choose between"
        yield Finding("error", "one_model", "models", message, "bring quality of at least two models")
    missing = np.isnan(outcomes.quality)
    for index, model in enumerate(outcomes.models):
        absent = np.flatnonzero(missing[:, index])
        share = len(absent) / max(1, len(outcomes))
        present = outcomes.quality[~missing[:, index], index]
        if share == 1.0:
            message = "no row has its quality"
            yield Finding("error", "missing_quality", model, message, "leave the model out", count=len(absent))
        elif len(absent):
            message = f"quality is missing in {len(absent)} rows ({share:.1%})"
            remedy = "rows without it train and test the other models only"
            severity: Severity = "warning" if share > MOSTLY_MISSING else "note"
            yield Finding(
                severity, "missing_quality", model, message, remedy, examples(outcomes, absent), len(absent)
            )
        if len(present) > 1 and (present == present[0]).all():
            message = f"quality is {present[0]:g} in every row"
            yield Finding(
                "warning", "constant_quality", model, message, "check how it was scored", count=len(present)
            )
    empty = np.flatnonzero(missing.all(axis=1))
    if len(empty) and len(outcomes.models):
        message = f"{len(empty)} rows have no quality of any model"
        yield Finding(
            "warning",
            "unobserved_row",
            "models",
            message,
            "they teach nothing: drop them",
            examples(outcomes, empty),
            len(empty),
        )


def _missing(outcomes: Outcomes, joined: npt.NDArray[np.int64]) -> Iterator[Finding]:
    """Whether what is missing makes the models' means incomparable."""
    known = observed(outcomes, joined)
    if np.isfinite(outcomes.quality).all() or len(outcomes.models) < 2 or not np.isfinite(outcomes.quality).any():
        return
    for name, message in known.never_scored(outcomes.models):
        rows = np.flatnonzero(known.unsupported[:, outcomes.models.index(name)])
        remedy = "score it on some of them: until then it counts 0 there and is not served"
        yield Finding("warning", "never_scored_kind", name, message, remedy, examples(outcomes, rows), len(rows))
    if (unlike := known.unlike_rows(outcomes.models, outcomes.weight)) is not None:
        remedy = "go by comparable rows, as training and reports do; score every model on the same rows"
        yield Finding("warning", "unlike_rows", "models", unlike, remedy)
    best = int(known.means(outcomes.weight).argmax())
    rivals = known.rests_on_missing(best, outcomes.weight)
    if len(rivals):
        names = ", ".join(outcomes.models[j] for j in rivals)
        message = (
            f"if outcomes are missing because of what they are, {names} may be better than {outcomes.models[best]}"
        )
        remedy = "write 0 where an answer failed or timed out; leave empty only what was never asked"
        yield Finding("note", "rests_on_missing", "models", message, remedy)


def _differences(outcomes: Outcomes) -> Iterator[Finding]:
    """Routing lives on rows where models differ."""
    if len(outcomes.models) < 2:
        return
    observed = ~np.isnan(outcomes.quality)
    highest = np.where(observed, outcomes.quality, -np.inf).max(axis=1)
    lowest = np.where(observed, outcomes.quality, np.inf).min(axis=1)
    compared = observed.sum(axis=1) > 1
    differ = int((compared & (highest > lowest)).sum())
    share = differ / max(1, int(compared.sum()))
    if differ == 0:
        message = "no row tells the models apart: all labels of a row are equal"
        yield Finding("error", "no_difference", "models", message, "bring rows on which the models differ")
    elif differ < FEW_DIFFERENCES or share < DIFFERENCE_SHARE:
        message = f"the models differ in {differ} rows only ({share:.1%})"
        remedy = "bring harder (or easier) requests: the others cannot teach a choice"
        yield Finding("warning", "few_differences", "models", message, remedy, count=differ)
    for right in range(len(outcomes.models)):
        for left in range(right):
            both = observed[:, left] & observed[:, right]
            same = (outcomes.quality[both, left] == outcomes.quality[both, right]).all()
            if differ and both.sum() >= MINIMUM_ROWS and same:
                message = f"quality equals that of {outcomes.models[left]} in all {both.sum()} common rows"
                remedy = "check that one was not copied from the other"
                yield Finding(
                    "warning", "same_quality", outcomes.models[right], message, remedy, count=int(both.sum())
                )


def _costs(outcomes: Outcomes) -> Iterator[Finding]:
    if outcomes.cost is None or np.isnan(outcomes.cost).all():
        message = "the table has no costs"
        remedy = (
            "add <model>|total_cost in USD, or train with --prices; without, of two models the better counts as "
            "the dearer, and of more quality alone decides"
        )
        yield Finding("note", "missing_cost", "total_cost", message, remedy, count=len(outcomes))
        return
    for index, model in enumerate(outcomes.models):
        absent = np.flatnonzero(np.isnan(outcomes.cost[:, index]) & ~np.isnan(outcomes.quality[:, index]))
        if not len(absent):
            continue
        wholly = bool(np.isnan(outcomes.cost[:, index]).all())
        message = "has no costs while others do" if wholly else f"cost is missing in {len(absent)} scored rows"
        remedy = f"add {model}|total_cost, or leave the model out" if wholly else "fill the gaps in"
        yield Finding(
            "warning",
            "missing_cost",
            f"{model}|total_cost",
            message,
            remedy,
            examples(outcomes, absent),
            len(absent),
        )


def _extraction(outcomes: Outcomes) -> Iterator[Finding]:
    for seen in suspicions(outcomes):
        scored = ~np.isnan(outcomes.quality[:, seen.model])
        rows = np.flatnonzero(scored & (np.array(outcomes.task) == seen.task))
        zeros = rows[outcomes.quality[rows, seen.model] == 0.0]
        figures = f"{seen.level:.3f} on {seen.task} where others reach {seen.others:.2f} and its level elsewhere"
        message = f"scores {figures} suggests {seen.expected:.2f}"
        if seen.failure:
            remedy = "looks like failed answer extraction: read some answers, score again, or leave it empty there"
            severity: Severity = "warning"
            kind = "extraction_failure"
        else:
            remedy = "may be real: read some of its answers there"
            severity, kind = "note", "weak_on_task"
        yield Finding(
            severity,
            kind,
            outcomes.models[seen.model],
            message,
            remedy,
            examples(outcomes, zeros),
            len(rows),
        )


def _noise(outcomes: Outcomes) -> Iterator[Finding]:
    """How often the worst model beats the best: chance, guessing or scoring errors, mostly."""
    means = np.array([_mean(outcomes.quality[:, index]) for index in range(len(outcomes.models))])
    if np.isnan(means).all() or len(means) < 2:
        return
    best, worst = int(np.nanargmax(means)), int(np.nanargmin(means))
    gain = outcomes.quality[:, worst] - outcomes.quality[:, best]
    common = ~np.isnan(gain)
    if best == worst or not common.any():
        return
    upset = np.flatnonzero(gain > 0)
    share = len(upset) / int(common.sum())
    message = f"{outcomes.models[worst]} beats {outcomes.models[best]} in {share:.1%} of their common rows"
    remedy = "where neither guesses, read such rows: they are exceptions, or scored wrongly"
    severity: Severity = "warning" if share > NOISY else "note"
    if len(upset):
        yield Finding(severity, "label_noise", "models", message, remedy, examples(outcomes, upset), len(upset))


def _texts(outcomes: Outcomes) -> Iterator[Finding]:
    if outcomes.prompt is None:
        return
    chats = outcomes.messages or (None,) * len(outcomes)
    sizes = [len((chat or prompt).encode()) for prompt, chat in zip(outcomes.prompt, chats, strict=True)]
    long = [row for row, size in enumerate(sizes) if size > _core.LONGEST_TEXT]
    if long:
        message = f"{len(long)} requests are longer than {_core.LONGEST_TEXT // 1024} KiB"
        remedy = "the engine looks at their head and tail only"
        yield Finding("note", "long_prompt", "prompt", message, remedy, examples(outcomes, long), len(long))
