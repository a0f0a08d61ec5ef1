"""Outcomes that were not observed: what can be said of them, and where nothing can.

A model's mean over the rows it was scored on says as much about those rows as about the model: scored on easy rows
only, it looks better than it is. So models are compared on all rows, with unobserved outcomes completed:

- **Outcome model.** Quality is a model's level plus the row's difficulty, as told by the models that were scored
  on it. Levels are fitted within rows (fixed effects), so they compare models on rows they share.
- **Propensity.** How likely a row is to be scored by a model, from its text, its task and its difficulty. The
  outcome model is shifted until its errors, weighted by the odds of being missing, vanish: the completed column's
  mean is then doubly robust, right if either model is (Robins, Rotnitzky and Zhao, 1994; in the form of Kang and
  Schafer, 2007, eq. 9).
- **Where a kind of row was never scored by a model** both only extrapolate. There its quality counts 0, the lower
  bound under missing not at random (Manski, 1990), so that it is not served on the strength of nothing.

What is missing *because* of its own value, as where time-outs were left empty, no method can tell from the table;
:meth:`Observed.rests_on_missing` says where it could matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer.evaluation.split import grouped_folds

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tiny_dancer.types import FeatureTable, Outcomes

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

_ROW_PENALTY = 0.01
"""Of a row's difficulty when levels are fitted: nearly none, so that rows without a common model still connect."""
_UNSUPPORTED = 0.2
"""A kind of row counts as never scored by a model where it surely is less than a fifth as often as others."""
_SURE = 0.999
_LEAST_PROPENSITY = 0.05
_PRIOR_ROWS = 5.0
_FOLDS = 5
_MOST_TASKS = 200
_FEWEST = 30
"""Rows below which no kinds are told apart."""


@dataclass(frozen=True, slots=True)
class Observed:
    """A table's quality with what is known of its gaps; all arrays [n, m], the same where nothing is missing.

    Attributes:
        quality: as in the table, NaN where not observed.
        completed: no NaN: what was observed, else what is expected, else (unsupported) 0.
        cautious: as in the table, but 0 where unsupported.
        pseudo: no NaN: augmented by inverse propensity, so that means and standard errors over rows are those of
            the doubly robust estimate; single values may lie outside [0, 1].
        unsupported: bool, unobserved cells of a kind of row that their model was never scored on.
        difficulty: float64 [n], of each row, by the models that were scored on it; higher is easier.
    """

    quality: Floats
    completed: Floats
    cautious: Floats
    pseudo: Floats
    unsupported: Flags
    difficulty: Floats

    def means(self, weight: Floats) -> Floats:
        """Mean quality of every model over all rows, float64 [m]."""
        found: Floats = np.average(self.completed, axis=0, weights=weight)
        return found

    def rests_on_missing(self, best: int, weight: Floats) -> Ints:
        """Models that would be better than ``best`` if they were right wherever they are missing, and it wrong."""
        missing = ~np.isfinite(self.quality)
        least = np.average(np.where(missing, 0.0, self.quality), axis=0, weights=weight)
        most = np.average(np.where(missing, 1.0, self.quality), axis=0, weights=weight)
        needed: Flags = np.asarray((missing | missing[:, [best]]).any(0))
        needed[best] = False
        return np.flatnonzero(needed & (most > least[best]))

    def never_scored(self, models: Sequence[str]) -> list[tuple[str, str]]:
        """Models that were never scored on a kind of row, each with what was found, in words."""
        said = []
        seen = np.isfinite(self.quality)
        for index, name in enumerate(models):
            rows = self.unsupported[:, index]
            if not (rows.any() and seen[:, index].any()):
                continue
            others = np.delete(self.quality, index, axis=1)
            there, here = _mean(others[rows]), _mean(others[seen[:, index]])
            kind = "harder" if there < here else "easier"
            message = (
                f"never scored on {int(rows.sum()):,} of {len(rows):,} rows, of a kind that others find {kind} "
                f"({there:.2f} there, {here:.2f} where it was scored)"
            )
            said.append((name, message))
        return said

    def unlike_rows(self, models: Sequence[str], weight: Floats) -> str | None:
        """In words, where the model with the highest mean is not the best on comparable rows; else None."""
        known = np.isfinite(self.quality).any(0)
        if not known.any():
            return None
        apart = np.array([_mean(column) for column in self.quality.T])
        means = np.where(known, self.means(weight), -np.inf)
        best, apparent = int(means.argmax()), int(np.nanargmax(apart))
        if apart[apparent] <= apart[best] or means[apparent] >= means[best]:
            return None
        return (
            f"{models[apparent]} has the highest mean of what each was scored on ({apart[apparent]:.3f}), but "
            f"{models[best]} is better on comparable rows ({means[best]:.3f} against {means[apparent]:.3f})"
        )

    def warnings(self, models: Sequence[str], weight: Floats) -> list[str]:
        """What a reader of the table's figures has to know, a sentence each; empty where nothing is missing."""
        remedy = "there its quality counts 0, so that nothing is served on the strength of nothing"
        said = [f"{name} was {message}: {remedy}" for name, message in self.never_scored(models)]
        unlike = self.unlike_rows(models, weight)
        return said if unlike is None else [*said, unlike]


def _mean(values: Floats) -> float:
    present = values[np.isfinite(values)]
    return float(present.mean()) if len(present) else float("nan")


def observed(outcomes: Outcomes, group: Ints | None = None) -> Observed:
    """What is known of a table's quality and its gaps.

    Args:
        outcomes: n rows; kinds of row are told by features and tasks where there are any, and by difficulty.
        group: int64 [n], of rows that are no independent evidence; the table's own if None.
    """
    quality = outcomes.quality
    seen = np.isfinite(quality)
    partly = np.flatnonzero(seen.any(0) & ~seen.all(0))
    level, difficulty = _additive(quality, outcomes.weight)
    if not len(partly):
        filled = np.where(seen, quality, 0.0)  # a model that nobody scored has nothing to stand on
        return Observed(quality, filled, filled, filled, ~seen, difficulty)
    expected = np.clip(level + difficulty[:, None], 0.0, 1.0)
    propensity, unsupported = np.ones(quality.shape), ~seen & ~seen.any(0)
    if len(outcomes) >= _FEWEST:
        chance, never = _propensity(outcomes, quality, seen, partly, outcomes.group if group is None else group)
        propensity[:, partly] = chance
        unsupported[:, partly] |= never & ~seen[:, partly]
        for model in partly:
            inside = ~never[:, list(partly).index(model)]
            odds = np.where(seen[:, model] & inside, 1 / propensity[:, model] - 1, 0.0) * outcomes.weight
            if odds.sum() > 0:
                error = np.where(seen[:, model], quality[:, model] - expected[:, model], 0.0)
                expected[:, model] = np.clip(expected[:, model] + odds @ error / odds.sum(), 0.0, 1.0)
    expected = np.where(unsupported, 0.0, expected)
    known = np.where(seen, quality, expected)
    pseudo = expected + np.where(seen, (known - expected) / propensity, 0.0)
    cautious = np.where(unsupported, 0.0, quality)
    return Observed(quality, known, cautious, pseudo, unsupported, difficulty)


def _additive(quality: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Levels of the models [m] and difficulty of the rows [n]: quality is about their sum.

    Levels by least squares with the rows' difficulty free; difficulty then shrunk by how much rows differ beyond
    chance (variance components).
    """
    seen = np.isfinite(quality)
    values = np.where(seen, quality, 0.0)
    mask = seen.astype(np.float64)
    count = mask.sum(1)
    part = weight / (count + _ROW_PENALTY)
    # The rows' difficulty profiled out: (diag − Σ w r rᵀ / (k + penalty)) level = what is left of the values.
    left = np.diag(weight @ mask) - mask.T @ (mask * part[:, None])
    right = weight @ values - (part * values.sum(1)) @ mask
    level = np.linalg.lstsq(left, right, rcond=None)[0]
    residual = np.where(seen, quality - level, 0.0)
    row = residual.sum(1) / np.maximum(count, 1.0)
    within = float((weight[:, None] * mask * (residual - row[:, None]) ** 2).sum())
    free = float((weight * np.maximum(count - 1, 0)).sum())
    noise = within / free if free > 0 else 0.0
    some = count > 0
    spread = 0.0
    if some.any():
        spread = float(np.average(row[some] ** 2 - noise / count[some], weights=weight[some]))
    shrink = count * spread / np.maximum(count * spread + noise, 1e-12) if spread > 0 else np.zeros(len(count))
    return level, shrink * row


def _propensity(
    outcomes: Outcomes, quality: Floats, seen: Flags, partly: Ints, group: Ints
) -> tuple[Floats, Flags]:
    """Chance of being observed [n, partly], and which rows are of a kind that was never observed."""
    flags = seen[:, partly].astype(np.float64)
    told = _out_of_fold(outcomes, flags, group)
    tasks, task = np.unique(np.array(outcomes.task), return_inverse=True)
    size = np.bincount(task, minlength=len(tasks))
    chance, never = np.empty(flags.shape), np.zeros(flags.shape, np.bool_)
    for place, model in enumerate(partly):
        rate = float(flags[:, place].mean())
        others = np.delete(quality, model, axis=1)
        _, ease = _additive(others, outcomes.weight)
        scored = np.isfinite(others).sum(1).astype(np.float64)
        score = _regressed(np.stack([*(table[:, place] for table in told), ease, scored], axis=1), flags[:, place])
        block = _rising_blocks(score, flags[:, place])
        sizes = np.bincount(block)
        hits = np.bincount(block, weights=flags[:, place])
        chance[:, place] = ((hits + _PRIOR_ROWS * rate) / (sizes + _PRIOR_ROWS))[block]
        never[:, place] = (_at_most(hits, sizes) < _UNSUPPORTED * rate)[block]
        in_task = np.bincount(task, weights=flags[:, place], minlength=len(tasks))
        never[:, place] |= (_at_most(in_task, size) < _UNSUPPORTED * rate)[task]
    return np.clip(chance, _LEAST_PROPENSITY, 1.0), never


def _out_of_fold(outcomes: Outcomes, flags: Floats, group: Ints) -> list[Floats]:
    """What tasks and texts tell of the flags, each row by the other folds: [n, partly] tables.

    Both are deviations from the other folds' mean, which is itself anticorrelated with the row's own flag.
    """
    if len(np.unique(group)) < _FOLDS:
        return []
    folds = grouped_folds(group, _FOLDS, 0)
    tasks, task = np.unique(np.array(outcomes.task), return_inverse=True)
    member = np.eye(len(tasks))[task] if 1 < len(tasks) <= _MOST_TASKS else None
    table = None if outcomes.features is None else _standard(outcomes.features)
    found: list[Floats] = []
    if member is not None:
        found.append(np.zeros(flags.shape))
    if table is not None:
        found.append(np.zeros(flags.shape))
    for fold in np.unique(folds):
        inside, outside = folds != fold, folds == fold
        centred = flags[inside] - flags[inside].mean(0)
        if member is not None:
            sums = member[inside].T @ centred / (member[inside].sum(0)[:, None] + _PRIOR_ROWS)
            found[0][outside] = member[outside] @ sums
        if table is not None:
            left = table[inside].T @ table[inside] + table.shape[1] * np.eye(table.shape[1])
            found[-1][outside] = table[outside] @ np.linalg.solve(left, table[inside].T @ centred)
    return found


def _standard(features: FeatureTable) -> Floats:
    """Cues and unit embedding in standard deviations, float64 [n, columns]."""
    embedding = features.embedding.astype(np.float64)
    length = np.linalg.norm(embedding, axis=1, keepdims=True)
    table = np.hstack([features.cues.astype(np.float64), embedding / np.maximum(length, 1.0)])
    deviation = table.std(0)
    varies = deviation > 1e-6
    standard: Floats = (table - table.mean(0))[:, varies] / deviation[varies]
    return standard


def _regressed(table: Floats, flag: Floats) -> Floats:
    """Ridge regression of a flag on a few columns, float64 [n]."""
    centred = table - table.mean(0)
    deviation = centred.std(0)
    centred = centred / np.where(deviation > 1e-9, deviation, 1.0)
    left = centred.T @ centred + table.shape[1] * np.eye(table.shape[1])
    fitted: Floats = centred @ np.linalg.solve(left, centred.T @ (flag - flag.mean()))
    return fitted


def _rising_blocks(score: Floats, flag: Floats) -> Ints:
    """Block of each row in the isotonic regression of the flags on a score (pooled violators), int64 [n]."""
    _, place = np.unique(score, return_inverse=True)
    sizes = np.bincount(place).astype(np.float64)
    sums = np.bincount(place, weights=flag)
    blocks: list[tuple[float, float, int]] = []  # flags, rows, scores
    for total, rows in zip(sums, sizes, strict=True):
        block = (float(total), float(rows), 1)
        while blocks and blocks[-1][0] * block[1] >= block[0] * blocks[-1][1]:
            before = blocks.pop()
            block = (before[0] + block[0], before[1] + block[1], before[2] + block[2])
        blocks.append(block)
    number = np.repeat(np.arange(len(blocks)), [scores for _, _, scores in blocks])
    return number[place]


def _at_most(hits: npt.NDArray[Any], rows: npt.NDArray[Any]) -> Floats:
    """Upper bound of a share, by Chernoff: the largest p with KL(hits / rows, p) ≤ log(1 / error) / rows.

    Where nothing was hit this is Clopper and Pearson's bound.
    """
    share = hits / np.maximum(rows, 1)
    room = np.log(1 / (1 - _SURE)) / np.maximum(rows, 1)
    low, high = share.copy(), np.ones(len(share))
    for _ in range(50):
        middle = (low + high) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            apart = np.where(share > 0, share * np.log(share / middle), 0.0)
            apart += np.where(share < 1, (1 - share) * np.log((1 - share) / (1 - middle)), 0.0)
        inside = np.nan_to_num(apart, nan=np.inf) <= room
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return high
