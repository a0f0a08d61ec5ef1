"""Training: outcomes in, artifact out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import OptionError, TrainingError
from tiny_dancer.evaluation.disguise import Texts
from tiny_dancer.evaluation.groups import assign_groups
from tiny_dancer.evaluation.missing import observed
from tiny_dancer.evaluation.overlap import remember
from tiny_dancer.evaluation.split import grouped_folds
from tiny_dancer.training import costs as costs_room
from tiny_dancer.training import heads as heads_room
from tiny_dancer.training.backends import FAMILIES, Targets
from tiny_dancer.training.confidence import fit_confidence
from tiny_dancer.training.export import Heads, build
from tiny_dancer.training.likeness import fit_likeness
from tiny_dancer.training.policy import NAMES, HeldOut, best_constant, choose_policies, policy_path
from tiny_dancer.training.stacking import choose_stack, out_of_fold

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from tiny_dancer.training.backends import Backend
    from tiny_dancer.training.policy import NamedPolicies, Policy, PolicyName
    from tiny_dancer.training.stacking import Stack
    from tiny_dancer.types import FeatureTable, ModelInfo, Outcomes

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

FOLDS = 5
FEWEST_ROWS = 20
"""Below this nothing can be held out: the artifact is the best constant."""
SET_COVERAGE = 0.9


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained artifact and what was seen on the way.

    Attributes:
        artifact: the file's bytes.
        outcomes: the rows trained on, with features and groups.
        quality: out-of-fold expected quality, float64 [n, m].
        cost: expected cost in USD, float64 [n, m], or None.
        decision: decisions of the policy in force with each row's fold left out of its choice, int64 [n].
        folds: fold of each row, int64 [n].
        policy: the policy in force.
        policies: the three that bear names, and what the best of them is estimated to gain.
        explained: share of held-out differences between models explained, by set of backends tried.
        chosen: names of the backends used; empty where the artifact is a constant.
        warnings: what the table leaves open, a sentence each.
    """

    artifact: bytes
    outcomes: Outcomes
    quality: Floats
    cost: Floats | None
    decision: Ints
    folds: Ints
    policy: Policy
    policies: NamedPolicies
    explained: dict[str, float]
    chosen: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def digest(outcomes: Outcomes) -> str:
    """SHA-256 over features and outcomes: names the rows without showing them."""
    features = _features(outcomes)
    sha = hashlib.sha256("\n".join(outcomes.models).encode())
    for array in (features.ngram_offsets, features.ngrams, features.cues, features.embedding, outcomes.quality):
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


def _nothing_to_learn(outcomes: Outcomes, groups: int, filled: Floats) -> list[str]:
    """Why the artifact is a constant whatever the requests say, if it is."""
    best = "the best constant serves all requests"
    if len(outcomes.models) < 2:
        return [f"there is one model, and nothing to choose: {outcomes.models[0]} serves all requests"]
    if groups < FEWEST_ROWS:
        return [f"{groups} independent rows are too few to learn from (at least {FEWEST_ROWS}): {best}"]
    if bool((filled == filled[:, :1]).all()):
        return [f"no row tells the models apart: {best}"]
    return []


def _features(outcomes: Outcomes) -> FeatureTable:
    if outcomes.features is None:
        raise TrainingError("features", "none", "read the table with the engine's featuriser")
    return outcomes.features


def _check_ranges(outcomes: Outcomes) -> None:
    """Refuses what a table's reader refuses, for outcomes made by hand: NaN alone means not observed."""
    bounds = {
        "quality": (outcomes.quality, 1.0, "give quality in [0, 1], NaN where not observed"),
        "cost": (outcomes.cost, np.inf, "give USD of at least 0, NaN where missing"),
        "latency": (outcomes.latency, np.inf, "give seconds of at least 0, NaN where missing"),
    }
    for field, (values, most, remedy) in bounds.items():
        if values is None:
            continue
        wrong = np.isinf(values) | (values < 0) | (values > most)
        if wrong.any():
            raise TrainingError(field, f"{values[wrong][0]} in row {int(wrong.any(1).argmax())}", remedy)
    wrong = ~(np.isfinite(outcomes.weight) & (outcomes.weight > 0))
    if wrong.any():
        raise TrainingError("weight", outcomes.weight[wrong][0], "give finite weights above 0")


def fit(
    outcomes: Outcomes,
    *,
    seed: int = 0,
    families: Sequence[Sequence[Backend]] = FAMILIES,
    policy: PolicyName = "balanced",
    prices: Mapping[str, float | ModelInfo] | None = None,
    encoder: bool = True,
    version: str = "0.1.0",
    created: str = "",
    progress: Callable[[str], None] = lambda _: None,
) -> Fitted:
    """Trains a router: every backend is judged on rows it did not see, and so are stack, calibration and policy.

    The same outcomes and seed give the same bytes.

    Args:
        outcomes: n rows with features and m models; unobserved qualities are NaN.
        seed: of folds and backends.
        families: backends to consider, variants of one together, default first.
        policy: the one in force, by name; see :func:`tiny_dancer.training.policy.choose_policies`.
        prices: of models, by name, in place of what the table says they cost: USD a request, or a
            :class:`~tiny_dancer.ModelInfo`. With none and no costs in the table, quality alone decides among more
            than two models; of two the better is taken as the dearer.
        encoder: False for an artifact that names no static encoder: it loads without those 7.8 MB, and sees of
            requests what :func:`tiny_dancer._core.without_encoder` leaves.
        version: of the artifact.
        created: date to record.
        progress: called with a phrase after each step; :func:`steps` says how often.

    Raises:
        TrainingError: no row or no model with an observed quality, or a value outside its range.
        OptionError: no policy of this name.
        OptionError: prices of unknown models, or of some while others have neither price nor costs.
    """
    if policy not in NAMES:
        raise OptionError("policy", policy, f"use one of {', '.join(NAMES)}")
    if not encoder:
        outcomes = replace(outcomes, features=_core.without_encoder(_features(outcomes)))
    features = _features(outcomes)
    listed = costs_room.price_list(outcomes.models, prices or {})
    outcomes = costs_room.priced(outcomes, listed)
    _check_ranges(outcomes)
    scored = np.isfinite(outcomes.quality)
    if not scored.any():
        raise TrainingError("quality", "no observed value", "give a table with outcomes")
    silent = [name for index, name in enumerate(outcomes.models) if not scored[:, index].any()]
    if silent:
        raise TrainingError("quality", f"{', '.join(silent)} never observed", "leave these models out (--models)")
    group = assign_groups(features, outcomes.group, Texts.of(outcomes))
    weight = outcomes.weight / outcomes.weight.mean()
    known = observed(outcomes, group)
    filled = known.completed
    best = best_constant(filled, outcomes.cost, weight)
    mean = np.average(filled, axis=0, weights=weight)
    centred = filled - mean
    basis = heads_room.components_basis(centred, weight)
    targets = Targets(centred @ basis, centred, weight, best)

    groups = len(np.unique(group))
    learnable = groups >= FEWEST_ROWS and len(outcomes.models) > 1 and bool((filled.std(0) > 0).any())
    folds = (
        grouped_folds(group, FOLDS if learnable else max(2, min(FOLDS, groups)), seed)
        if groups > 1
        else (np.zeros(len(outcomes), np.int64))
    )
    backends: list[Backend] = [backend for family in families for backend in family]
    stack: Stack | None = None
    if learnable:
        predictions = out_of_fold(backends, features, targets, folds, seed, progress)
        numbers, start = [], 0
        for family in families:
            numbers.append(list(range(start, start + len(family))))
            start += len(family)
        names = [backend.name for backend in backends]
        stack = choose_stack(names, numbers, predictions, targets, basis, folds, group)
    chosen = () if stack is None else stack.chosen
    raw = mean + (np.zeros_like(targets.components) if stack is None else stack.prediction) @ basis.T
    fitted = []
    for index in chosen:
        fitted.append(backends[index].fit(features, targets, seed))
        progress(f"{backends[index].name}, all rows")

    calibration = heads_room.shared_map(raw) if chosen else heads_room.IDENTITY
    quality = calibration(raw)
    cost_head = replace(costs_room.fit_cost(outcomes, features), prices=listed)
    cost = None if all(model is None for model in cost_head.models) else cost_head.predict(features)
    spent = (
        None
        if cost is None or outcomes.cost is None
        else np.where(np.isfinite(outcomes.cost), outcomes.cost, cost)
    )
    usable = cost is not None and cost_head.models[best] is not None
    held_out = HeldOut(quality, cost if usable else None, known.pseudo, spent if usable else None, weight, group)
    path = policy_path(held_out, best) if chosen else []
    # Where others have costs and the best constant has none, nothing can be shown to be cheaper than it: it stays.
    comparable = [] if cost is not None and not usable else path
    policies = choose_policies(comparable, held_out, best)
    decision = _held_out_decisions(comparable, held_out, best, folds, policy)
    artifact = build(
        outcomes.models,
        fitted,
        Heads(
            mean=mean,
            basis=basis,
            stack=np.zeros((0, basis.shape[1])) if stack is None else stack.weight,
            calibration=(calibration,) * len(outcomes.models),
            confidence=fit_confidence(quality, known.cautious, weight),
            cost=cost_head,
            latency=costs_room.fit_latency(outcomes, features),
            set_width=heads_room.set_width(quality, known.cautious, SET_COVERAGE) if chosen else 1.0,
            set_coverage=SET_COVERAGE,
            likeness=fit_likeness(features, group, seed, encoder=encoder),
        ),
        policies.get(policy),
        {
            "policies": policies.header(policy),
            "training": {
                "rows": len(outcomes),
                "groups": groups,
                "data_digest": digest(outcomes),
                "seed": seed,
                "rows_seen": remember(features, Texts.of(outcomes)),
                "backends": [backends[index].name for index in chosen],
                "explained": {} if stack is None else {k: round(v, 6) for k, v in stack.explained.items()},
            },
            "policy_path": [each.level for each in path],
        },
        encoder=encoder,
        version=version,
        created=created,
    )
    return Fitted(
        artifact=artifact,
        outcomes=outcomes,
        quality=quality,
        cost=cost,
        decision=decision,
        folds=folds,
        policy=policies.get(policy),
        policies=policies,
        explained={} if stack is None else stack.explained,
        chosen=tuple(backends[index].name for index in chosen),
        warnings=(
            *_nothing_to_learn(outcomes, groups, filled),
            *known.warnings(outcomes.models, weight),
            *costs_room.warnings(outcomes, cost_head, best),
        ),
    )


def _held_out_decisions(path: list[Policy], held_out: HeldOut, best: int, folds: Ints, name: PolicyName) -> Ints:
    """Decisions of the policy of this name as the other folds would have chosen it: int64 [n]."""
    decision = np.full(len(folds), best, np.int64)
    if not path:  # the best constant; there may be a single fold, which leaves no row to choose on
        return decision
    for fold in np.unique(folds):
        inside = folds == fold
        policy = choose_policies(path, held_out.rows(~inside), best).get(name)
        rows = held_out.rows(inside)
        decision[inside] = policy.decide(rows.quality, rows.cost)
    return decision


def steps(families: Sequence[Sequence[Backend]] = FAMILIES) -> int:
    """How often :func:`fit` reports progress, at most."""
    return (FOLDS + 1) * sum(len(family) for family in families)
