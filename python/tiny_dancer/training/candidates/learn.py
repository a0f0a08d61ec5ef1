"""Routing history and feedback → a scorer that ranks better, where later answers show that it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import OptionError
from tiny_dancer.evaluation.bootstrap import Interval, mean_statistics, paired_bootstrap
from tiny_dancer.evaluation.relevance import ConformalRelevance
from tiny_dancer.training.candidates import export
from tiny_dancer.training.candidates.calibration import Calibration, p_value_tensors, probability_map
from tiny_dancer.training.candidates.history import History, read_history
from tiny_dancer.training.candidates.linear import (
    LinearScorer,
    Standardised,
    anchored_path,
    direction_of,
    listwise_losses,
)
from tiny_dancer.training.candidates.propensity import Propensity, estimate_propensity

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from tiny_dancer.storage import HistoryStorage

    Floats = npt.NDArray[np.float64]

FEWEST_LEARNED, FEWEST_JUDGED = 30, 20
"""Answers in which something helped."""
UNTRAINED = "untrained"
"""What answers of the combination without training are recorded as."""
_JUDGED = 0.3
_LEVEL = 0.98
"""Of the interval that decides: learning is run again and again, and few answers weigh much."""
_PENALTIES = (1.0, 0.1, 0.01, 0.001)
_FOLDS = 5


@dataclass(frozen=True, slots=True)
class Learned:
    """What came of learning from use.

    Attributes:
        artifact: the new scorer's file; None where the scorer in force stays.
        reason: why, in words.
        learned_from: earlier answers that helped.
        judged_on: later answers that helped, none of them learned from.
        gain: mean reciprocal rank, corrected for position, of the new scorer minus that in force, with a 98 %
            interval over queries; None where nothing was judged.
        propensity: how likely each position is looked at, from the earlier answers.
        left_out: answers that could not be learned from, by reason.
    """

    artifact: bytes | None
    reason: str
    learned_from: int
    judged_on: int
    gain: Interval | None
    propensity: Propensity | None
    left_out: Mapping[str, int]


def learn_from_use(
    storage: HistoryStorage, in_force: bytes | None = None, *, seed: int = 0, created: str = ""
) -> Learned:
    """Learns from which candidates helped; proposes a new scorer only where later answers show it to be better.

    A candidate that did not help may not have been seen: each that did counts by the inverse of the chance that
    its position is looked at (Joachims, Swaminathan and Schnabel 2017), estimated by :func:`estimate_propensity`,
    at most ten times. Candidates that were not shown tell nothing and count as nothing. Weights are drawn to those
    of the scorer in force, because the few candidates shown say little about all that were not.

    The first 70 % of the answers are learned from; the rest decide: new and old scorer rank what was shown, judged
    by reciprocal ranks of what helped, weighted as above. The new one is proposed where the lower bound of the
    paired difference, resampled by query, is above zero. It is then calibrated on all later answers: confidence is
    the chance of being marked helpful when seen; p-values count as irrelevant what was marked so, or passed over
    in favour of one shown below it (Joachims 2002).

    Args:
        storage: with routing history and feedback about candidates.
        in_force: artifact of the scorer in force; the combination without training where None.
        seed: of folds and bootstrap.
        created: date to record.

    Raises:
        StorageError: the database cannot be read.
        ArtifactError: ``in_force`` cannot be loaded.
    """
    name = UNTRAINED
    if in_force is not None:
        _core.CandidateScorer(in_force)
        name = str(_core.read_header(in_force)["version"])
    history, left_out = read_history(storage)
    useful = np.flatnonzero(history.has_help)
    cut = len(useful) - round(_JUDGED * len(useful))
    learned, judged = useful[:cut], useful[cut:]
    if len(learned) < FEWEST_LEARNED or len(judged) < FEWEST_JUDGED:
        needed = int(np.ceil(max(FEWEST_LEARNED / (1 - _JUDGED), FEWEST_JUDGED / _JUDGED)))
        reason = f"{len(useful):,} answers with help, {needed} are needed: the scorer in force stays"
        return Learned(None, reason, len(learned), 0, None, None, left_out)
    earlier = history.at(np.arange(int(judged[0])))
    propensity = estimate_propensity(earlier)
    rows, old = history.at(learned), _linear_of(in_force)
    scorer, penalty = _fitted(rows, rows.helped / _positions(propensity, rows), old, seed)
    later = history.at(judged)
    if old is None:
        # Only what the scorer in force itself scored says how it ranks.
        later = later.at(np.flatnonzero([version == name for version in later.version]))
    if len(later) < FEWEST_JUDGED:
        reason = f"{len(later)} later answers are by the scorer in force, {FEWEST_JUDGED} are needed: it stays"
        return Learned(None, reason, len(learned), len(later), None, propensity, left_out)
    target = later.helped / _positions(propensity, later)
    gain = _gain(later, target, scorer(later.features), later.score if old is None else old(later.features), seed)
    interval = f"{100 * _LEVEL:.0f} % interval {gain.low:+z.4f} to {gain.high:+z.4f}"
    figures = f"MRR {gain.estimate:+z.4f}, {interval}, on {len(later):,} later answers"
    if not gain.above_zero:
        reason = f"not shown to be better ({figures}): the scorer in force stays"
        return Learned(None, reason, len(learned), len(later), gain, propensity, left_out)
    rest = {
        "metrics": {"gain_in_mrr": [round(value, 4) for value in (gain.estimate, gain.low, gain.high)]},
        "training": {
            "from": "use",
            "learned_from": len(learned),
            "judged_on": len(later),
            "in_force": name,
            "eta": round(propensity.eta, 4),
            "examined": [round(float(each), 4) for each in propensity.examined],
            "pairs": propensity.pairs,
            "penalty": penalty,
            "seed": seed,
        },
    }
    # With the answers in which nothing helped: without them everything would look more useful than it is.
    since = history.at(np.arange(int(judged[0]), len(history)))
    calibration = _calibration(since, scorer(since.features), _positions(propensity, since))
    calibration = calibration.with_(_likeness(in_force))
    version = "1.0.0" if in_force is None else _next(name)
    artifact = export.build("linear", scorer.tensors(), calibration, rest, version=version, created=created)
    return Learned(artifact, f"better ({figures})", len(learned), len(later), gain, propensity, left_out)


def _positions(propensity: Propensity, rows: History) -> Floats:
    """Chances of examination, also of positions nothing was shown at before."""
    most = int(rows.rank.max()) + 1
    if most > len(propensity.examined):
        tail = 1 / np.arange(len(propensity.examined) + 1, most + 1) ** propensity.eta
        propensity = Propensity(
            propensity.eta, np.concatenate([propensity.examined, np.minimum(tail, 1.0)]), propensity.pairs
        )
    return propensity.of(rows)


def _linear_of(artifact: bytes | None) -> LinearScorer | None:
    if artifact is None or _core.read_header(artifact)["scorer"] != "linear":
        return None
    mean, scale, weight = (
        export.float_tensor(artifact, name) for name in ("feature.mean", "feature.scale", "linear.weight")
    )
    return LinearScorer(mean, scale, weight)


def _fitted(rows: History, target: Floats, old: LinearScorer | None, seed: int) -> tuple[LinearScorer, float]:
    """The scorer of these answers, and the penalty that answers left out of fitting chose."""
    if old is None:
        standard = Standardised.of(rows.features)
        direction = direction_of(standard, rows.score)
    else:
        standard = Standardised((rows.features.astype(np.float64) - old.mean) / old.scale, old.mean, old.scale)
        direction = old.weight
    fold = np.random.default_rng(seed).permutation(int(rows.query.max()) + 1)[rows.query] % _FOLDS
    losses = np.zeros(len(_PENALTIES))
    for each in range(_FOLDS):
        inside, outside = np.flatnonzero(fold == each), np.flatnonzero(fold != each)
        if not len(inside) or not len(outside):
            continue
        kept, judged = np.isin(rows.answer, outside), np.isin(rows.answer, inside)
        part, part_target = _part(standard, kept), target[kept]
        offsets, judged_offsets = rows.at(outside).offsets, rows.at(inside).offsets
        for place, scorer in enumerate(anchored_path(part, part_target, offsets, direction, _PENALTIES)):
            scores = standard.values[judged] @ scorer.weight
            losses[place] += listwise_losses(scores, target[judged], judged_offsets).sum()
    best = int(losses.argmin())
    return anchored_path(standard, target, rows.offsets, direction, _PENALTIES)[best], _PENALTIES[best]


def _part(standard: Standardised, rows: npt.NDArray[np.bool_]) -> Standardised:
    return Standardised(standard.values[rows], standard.mean, standard.scale)


def _gain(rows: History, target: Floats, new: Floats, old: Floats, seed: int) -> Interval:
    """Difference in reciprocal rank of what helped, weighted by ``target`` [n], by query."""
    answer, count = rows.answer, len(rows)
    weight = np.bincount(answer, target, minlength=count)
    values = []
    for scores in (new, old):
        order = np.lexsort((rows.rank, -scores, answer))
        rank = np.empty(len(scores))
        rank[order] = np.arange(len(scores)) - np.repeat(rows.offsets[:-1], np.diff(rows.offsets)) + 1
        values.append(np.bincount(answer, target / rank, minlength=count) / weight.mean())
    difference = mean_statistics((values[0] - values[1])[:, None])
    return paired_bootstrap(difference, count, group=rows.query, seed=seed).interval(0, level=_LEVEL)


def _calibration(rows: History, scores: Floats, examined: Floats) -> Calibration:
    tensors = dict(probability_map(scores, rows.helped / examined, examined))
    tensors["calibration.probabilities"] = np.minimum(tensors["calibration.probabilities"], np.float32(1))
    helped = rows.helped >= 0.5
    lowest = np.full(len(rows), -1)
    np.maximum.at(lowest, rows.answer, np.where(helped, rows.rank, -1))
    passed_over = ~helped & (rows.rated | (rows.rank < lowest[rows.answer]))
    known = helped | passed_over
    if not helped.any() or not passed_over.any():
        return Calibration(tensors, {})
    relevance = ConformalRelevance.conformalize(scores[known], helped[known], question=rows.answer[known])
    return Calibration({**tensors, **p_value_tensors(relevance)}, {"relevance": relevance.header()})


def _likeness(in_force: bytes | None) -> Calibration:
    """The test of the scorer in force: of candidates that were not shown, history says nothing."""
    found = None if in_force is None else _core.read_header(in_force).get("likeness")
    if in_force is None or found is None:
        return Calibration({}, {})
    names = ("likeness.mean", "likeness.weight")
    tensors = {name: export.float_tensor(in_force, name).astype(np.float32) for name in names}
    return Calibration(tensors, {"likeness": found})


def _next(version: str) -> str:
    """The version after ``version``: what was learned from use is a minor one."""
    parts = version.split("-", 1)[0].split("+", 1)[0].split(".")
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        raise OptionError("version", version, "train the artifact again: versions are MAJOR.MINOR.PATCH")
    return f"{parts[0]}.{int(parts[1]) + 1}.0"
