"""Models added to an artifact, repriced and taken out, without training it again.

An artifact expects of model m the quality mean_m + basis_m · c(x), c(x) being what its backends make of a request.
A new model is a new row of mean and basis; the backends stay. The row is fitted to a few outcomes of the new model
with the known models' rows as its prior: basis ~ N(their mean, their covariance), its posterior mean (Gelman et
al.,
*Bayesian Data Analysis*, 15.1). That is item response theory with as many abilities as components: what kind of
requests a model is good at is assumed to vary as it does among the known ones. Choosing among this, a constant and
the row of the known model most alike, by rows left out, was worse at every number of outcomes
(benchmarks/quality/bench_added_model.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import DataError, OptionError
from tiny_dancer.evaluation.disguise import Texts
from tiny_dancer.evaluation.overlap import remember
from tiny_dancer.evaluation.split import grouped_folds
from tiny_dancer.routing import Router, featurise
from tiny_dancer.training.costs import CostSeen, fit_latency, fitted_line, price_list, verbosity_score
from tiny_dancer.training.data import assign_groups
from tiny_dancer.training.data.models import may_name_model
from tiny_dancer.training.export import SELF_CHECK_TEXTS, with_self_checks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    from tiny_dancer.types import FeatureTable, ModelInfo, Outcomes

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

PRIOR_ROWS = 10.0
"""Outcomes that what is known of other models counts for."""
_FOLDS = 10
_FEWEST = 5
"""Rows below which nothing can be chosen by rows left out."""
_FEWEST_ROUTED = 10


@dataclass(frozen=True, slots=True)
class Added:
    """An artifact with a further model.

    Attributes:
        artifact: the file's bytes.
        method: how the model's row was found: ``outcomes``, or ``declared`` where there were none.
        rows: outcomes it rests on.
        error: mean squared error on rows left out; NaN where nothing could be left out.
        constant_error: the same of a constant.
        cleared: whether the outcomes support leaving the best constant for it.
        notes: what a user has to know, a sentence each.
    """

    artifact: bytes
    method: str
    rows: int
    error: float
    constant_error: float
    cleared: bool
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """Quality expected of a model before calibration: level + slope · components."""

    level: float
    slope: Floats

    def __call__(self, components: Floats) -> Floats:
        """Expected quality, float64 [n], of components [n, r]."""
        expected: Floats = np.clip(self.level + components @ self.slope, 0.0, 1.0)
        return expected


@dataclass(frozen=True, slots=True)
class Prior:
    """What is known of a model without outcomes: its row, and how far it may lie from there.

    Attributes:
        row: expected.
        spread: covariance of its slope, float64 [r, r].
        rows: outcomes that this counts for.
    """

    row: Row
    spread: Floats
    rows: float

    @classmethod
    def of(cls, mean: Floats, basis: Floats, twin: int | None, rows: float) -> Prior:
        """From the known models' mean [m] and basis [m, r]; around that of the twin where there is one."""
        level, slope = (mean.mean(), basis.mean(0)) if twin is None else (mean[twin], basis[twin])
        centred = basis - basis.mean(0)
        spread = centred.T @ centred / len(basis)
        rank = basis.shape[1]
        floor = 0.05 * (np.trace(spread) / max(1, rank) + 1e-6)
        return cls(Row(float(level), slope), spread + floor * np.eye(rank), rows)

    def updated(self, components: Floats, quality: Floats, weight: Floats) -> Row:
        """The posterior mean, after outcomes: components [n, r], quality [n] and weight [n]."""
        mean = np.average(quality, weights=weight)
        noise = max(float(np.average((quality - mean) ** 2, weights=weight)), 1e-3)
        table = np.hstack([np.ones((len(quality), 1)), components])
        prior = np.append(self.row.level, self.row.slope)
        precision = np.zeros((len(prior),) * 2)
        precision[0, 0] = self.rows
        precision[1:, 1:] = self.rows / PRIOR_ROWS * noise * np.linalg.inv(self.spread)
        left = (table * weight[:, None]).T @ table + precision
        found = np.linalg.solve(left, table.T @ (weight * quality) + precision @ prior)
        return Row(float(found[0]), found[1:])


def add_model(
    artifact: bytes,
    name: str,
    outcomes: Outcomes | None = None,
    *,
    like: str | None = None,
    prior_rows: float = PRIOR_ROWS,
    price: float | ModelInfo | None = None,
) -> Added:
    """The artifact with a further model; its certificate ends, having been earned with other models.

    Args:
        artifact: the file's bytes.
        name: of the new model.
        outcomes: of the new model, with features; columns of known models are used to judge whether to leave the
            best constant for it. None: nothing is known but ``like``.
        like: a known model it is expected to be like. Without outcomes it is taken to be the same, which is
            declared, not measured, and said with every decision.
        prior_rows: outcomes that this, or what is known of the other models, counts for.
        price: USD a request, or a :class:`~tiny_dancer.ModelInfo`; else by the table's costs, else those of
            ``like``.

    Raises:
        OptionError: the name is taken, or none that a table's column can have, ``like`` is unknown, or nothing
            says what the model is like or costs.
        DataError: no outcome of the model in the table.
    """
    header = _core.read_header(artifact)
    if header["kind"] != "request-router":
        raise OptionError("artifact", header["kind"], "models are added to routers")
    names = [model["name"] for model in header["models"]]
    if name in names:
        raise OptionError("name", name, "the artifact has it already; remove it first, or reprice it")
    if not may_name_model(name):
        raise OptionError("name", repr(name), "give a name that a table's column of qualities can have")
    if like is not None and like not in names:
        raise OptionError("like", like, f"the artifact's models are {', '.join(names)}")
    if not (np.isfinite(prior_rows) and prior_rows > 0):
        raise OptionError("prior_rows", prior_rows, "give a number of rows above 0")
    if outcomes is None and like is None:
        raise OptionError(
            "from", "no table", "give outcomes of the model, or --like a model it is taken to be like"
        )
    router = Router(artifact)
    tensors = _core.read_tensors(artifact)
    twin = None if like is None else names.index(like)
    prior = Prior.of(tensors["mean"].astype(np.float64), tensors["basis"].astype(np.float64), twin, prior_rows)
    entry: dict[str, Any] = {"name": name, "cleared": True, "latency": None}
    note: dict[str, Any] = {"name": name, "rows": 0, "like": like}
    notes: list[str] = []
    if outcomes is None:
        if twin is None:
            raise OptionError("like", "none", "name a known model")
        row, method = prior.row, "declared"
        error = constant_error = float("nan")
        entry |= {key: value for key, value in header["models"][twin].items() if key not in ("name", "cleared")}
        entry["cleared"] = bool(header["models"][twin]["cleared"]) or twin == header["best_constant"]
        maps = tensors["calibration_knots"][twin], tensors["calibration_values"][twin]
        features = featurise(SELF_CHECK_TEXTS, spec=router.feature_spec)
        notes.append(
            f"{name} is taken to be like {like}: declared, not measured; add outcomes as soon as there are some"
        )
    else:
        used = _rows_of(outcomes, name)
        features = router.features_of(used)
        components = _core.components(router._engine, features)
        quality = used.quality[:, used.models.index(name)]
        weight = used.weight / used.weight.mean()
        row, method = prior.updated(components, quality, weight), "outcomes"
        group = assign_groups(features, used.group, Texts.of(used))
        error, constant_error = _left_out(prior, components, quality, weight, group)
        maps = _identity(tensors["calibration_knots"].shape[1])
        entry |= _measured(used, name, tensors["verbosity"].astype(np.float64))
        note |= {"rows": len(used), "method": method}
        if np.isfinite(error):
            note |= {"error": round(error, 6), "error_of_a_constant": round(constant_error, 6)}
        if twin is not None and entry["cost"] is None and price is None:
            entry |= {
                key: value
                for key, value in header["models"][twin].items()
                if key.startswith(("price_", "cost")) or key == "expected_output_tokens"
            }
    if price is not None:
        info = price_list((name,), {name: price})[0]
        entry |= {"cost": None, **_fields(info)}
        entry.pop("cost_seen", None)
    dearest = header["models"][header["best_constant"]]
    if _is_priced(dearest) and not _is_priced(entry):
        raise OptionError(
            f"price of {name}", "unknown", "the artifact weighs costs: give a price, or a table with costs"
        )

    knots, values = tensors["calibration_knots"], tensors["calibration_values"]
    if knots.shape[1] == 1:  # one knot is a constant; a line needs two
        knots = np.hstack([knots, knots + 1])
        values = np.hstack([values, values])
    changed = {
        **tensors,
        "mean": np.append(tensors["mean"], np.float32(row.level)).astype(np.float32),
        "basis": np.vstack([tensors["basis"], row.slope[None].astype(np.float32)]),
        "calibration_knots": np.vstack([knots, maps[0][None]]).astype(np.float32),
        "calibration_values": np.vstack([values, maps[1][None]]).astype(np.float32),
    }
    best = header["best_constant"]
    base = {
        **_between_more(header, router.route_features(features).costs, best),
        "models": [*header["models"], entry],
        "added": [*header.get("added", []), note],
        "self_check": [],
    }
    _end_certificate(base, "declared" if outcomes is None else "other_models")
    if outcomes is not None:
        note["rows_seen"] = remember(features, Texts.of(used))
        entry["cleared"] = _pays(_core.artifact_bytes(base, changed), used, name, names[best])
        if not entry["cleared"]:
            notes.append(
                f"these {len(used)} rows do not show that leaving {names[best]} for {name} pays: it serves where "
                "it is pinned or alone; add more rows"
            )
    if base["policy"]["kind"] == "constant":
        constant = names[base["policy"]["model"]]
        notes.append(
            f"the policy in force always calls {constant}: {name} is called where a cost weight or another policy "
            "is asked for; or train again with outcomes of all"
        )
    data = with_self_checks(_core.artifact_bytes(base, changed))
    return Added(data, method, note["rows"], error, constant_error, bool(entry["cleared"]), tuple(notes))


def remove_model(artifact: bytes, name: str) -> bytes:
    """The artifact without a model; its certificate ends.

    Where the best constant goes, the model with the highest mean takes its place; a policy of two models becomes
    the constant one.

    Raises:
        OptionError: the model is unknown, or the last one.
    """
    header = _core.read_header(artifact)
    names = _names(header)
    index = _index(names, name)
    if len(names) == 1:
        raise OptionError("name", name, "an artifact needs one model at least")
    tensors = _core.read_tensors(artifact)
    changed = {
        key: np.delete(values, index, axis=0)
        if key in ("mean", "basis", "calibration_knots", "calibration_values")
        else values
        for key, values in tensors.items()
    }
    best: int = header["best_constant"]
    best = int(changed["mean"].argmax()) if best == index else best - (best > index)
    base = {
        **header,
        "models": [model for model in header["models"] if model["name"] != name],
        "best_constant": best,
        "self_check": [],
        "added": [each for each in header.get("added", []) if each["name"] != name],
    }

    def without(policy: dict[str, Any]) -> dict[str, Any]:
        if policy["kind"] == "threshold":
            return {"kind": "constant", "model": best}
        if policy["kind"] == "constant":
            model = policy["model"]
            return {"kind": "constant", "model": best if model == index else model - (model > index)}
        return policy

    _with_policies(base, without)
    if len(names) <= 3:  # the path of a pair is one of thresholds, and was never fixed
        base["policy_path"] = []
    _end_certificate(base, "other_models")
    return with_self_checks(_core.artifact_bytes(base, changed))


def reprice(artifact: bytes, prices: Mapping[str, float | ModelInfo]) -> bytes:
    """The artifact with other prices; a certificate ends where it bounds costs or its policy weighs them.

    Raises:
        OptionError: a model is unknown, or its prices would leave a kind of token free.
    """
    header = _core.read_header(artifact)
    listed = price_list(tuple(_names(header)), prices)
    models = []
    for model, info in zip(header["models"], listed, strict=True):
        if info is None:
            models.append(model)
        else:
            kept = {
                key: value for key, value in model.items() if not key.startswith("price_") and key != "cost_seen"
            }
            models.append({**kept, "cost": None, **_fields(info)})
    base = {**header, "models": models}
    if header["policy"]["kind"] == "cost_weight" or (header["guarantee"] or {}).get("risk") == "cost":
        _end_certificate(base, "other_prices")
    return with_self_checks(_core.with_header(artifact, base))


def _names(header: Mapping[str, Any]) -> list[str]:
    if header["kind"] != "request-router":
        raise OptionError("artifact", header["kind"], "only routers have models to change")
    return [model["name"] for model in header["models"]]


def _index(names: list[str], name: str) -> int:
    if name not in names:
        raise OptionError("name", name, f"the artifact's models are {', '.join(names)}")
    return names.index(name)


def _fields(info: ModelInfo | None) -> dict[str, Any]:
    from tiny_dancer.routing.arguments import price_fields

    return {} if info is None else {key: value for key, value in price_fields(info).items() if key != "name"}


def _is_priced(model: Mapping[str, Any]) -> bool:
    prices = ("cost", "price_input", "price_output", "price_request")
    return any(model.get(key) is not None for key in prices)


def _end_certificate(header: dict[str, Any], why: str) -> None:
    """Takes a certificate out and says why; what was declared is said even where there was none."""
    if header["guarantee"] is not None or why == "declared":
        header["certificate_ended"] = why
    header["guarantee"] = None
    header.pop("drift", None)  # of what was certified


def _rows_of(outcomes: Outcomes, name: str) -> Outcomes:
    if name not in outcomes.models:
        raise DataError("models", ", ".join(outcomes.models), f"give a table with a column {name}")
    rows = np.flatnonzero(np.isfinite(outcomes.quality[:, outcomes.models.index(name)]))
    if not len(rows):
        raise DataError(name, "no outcome", "give a table with outcomes of the model")
    return outcomes.rows(rows)


def _features(outcomes: Outcomes) -> FeatureTable:
    if outcomes.features is None:
        raise DataError("features", "none", "read the table with the engine's featuriser")
    return outcomes.features


def _identity(knots: int) -> tuple[Floats, Floats]:
    """The map of [0, 1] to itself."""
    line = np.linspace(0.0, 1.0, max(knots, 2))
    return line, line


def _left_out(
    prior: Prior, components: Floats, quality: Floats, weight: Floats, group: Ints
) -> tuple[float, float]:
    """Mean squared error on rows left out, and that of a constant; NaN where too few could be."""
    groups = len(np.unique(group))
    if groups < _FEWEST:
        return float("nan"), float("nan")
    folds = grouped_folds(group, min(_FOLDS, groups), 0)
    nothing = np.zeros((len(quality), 0))
    constant = Prior(Row(prior.row.level, np.zeros(0)), np.zeros((0, 0)), prior.rows)
    errors = []
    for each, table in ((prior, components), (constant, nothing)):
        left = np.empty(len(quality))
        for fold in np.unique(folds):
            inside, outside = folds != fold, folds == fold
            row = each.updated(table[inside], quality[inside], weight[inside])
            left[outside] = quality[outside] - row(table[outside])
        errors.append(float(np.average(left**2, weights=weight)))
    return errors[0], errors[1]


def _measured(outcomes: Outcomes, name: str, weights: Floats) -> dict[str, Any]:
    """Cost and latency of the new model, as a header has them, on the artifact's own score of verbosity."""
    index = outcomes.models.index(name)
    features = _features(outcomes)
    one = replace(
        outcomes,
        models=(name,),
        quality=outcomes.quality[:, [index]],
        cost=None,
        latency=None if outcomes.latency is None else outcomes.latency[:, [index]],
    )
    latency = fit_latency(one, features)[0]
    found: dict[str, Any] = {"cost": None, "latency": None if latency is None else list(latency)}
    cost = None if outcomes.cost is None else outcomes.cost[:, index]
    if cost is None or np.isfinite(cost).sum() < 2:
        return found
    seen = np.isfinite(cost)
    tokens = features.tokens.astype(np.float64)[seen]
    score = verbosity_score(weights, features)[seen]
    design = np.stack([np.ones(len(tokens)), tokens], axis=1)
    constant, per_token = fitted_line(design, cost[seen], outcomes.weight[seen])
    left = cost[seen] - constant - per_token * tokens
    slope = max(0.0, float(np.mean((score - score.mean()) * left))) / max(float(score.var()), 1e-12)
    found["cost"] = [float(constant - slope * score.mean()), float(per_token), slope]
    found["cost_seen"] = CostSeen.of(tokens, score, cost[seen]).header()
    return found


def _between_more(header: dict[str, Any], costs: Floats, best: int) -> dict[str, Any]:
    """The header with policies that choose between more than two models.

    A threshold τ between two is the cost weight τ / (what the dearer costs more, on average); where nobody knows
    that, quality alone decides.
    """
    if len(header["models"]) > 2:
        return dict(header)
    other = 1 - best if len(header["models"]) == 2 else best
    dearer = float(np.mean(costs[:, best] - costs[:, other])) if costs.size else 0.0

    def weight(threshold: float) -> float:
        return max(0.0, threshold) / dearer if np.isfinite(dearer) and dearer > 0 else 0.0

    def changed(policy: dict[str, Any]) -> dict[str, Any]:
        if policy["kind"] != "threshold":
            return policy
        return {"kind": "cost_weight", "cost_weight": weight(policy["threshold"]), "unit": "usd"}

    base = dict(header)
    _with_policies(base, changed)
    base["policy_path"] = sorted({weight(level) for level in header.get("policy_path", [])})
    return base


def _with_policies(header: dict[str, Any], change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Changes the policy in force and those with names."""
    header["policy"] = change(header["policy"])
    named = header.get("policies")
    if named is not None:
        header["policies"] = {
            name: change(policy) if isinstance(policy, dict) else policy for name, policy in named.items()
        }


def _pays(artifact: bytes, outcomes: Outcomes, name: str, best: str) -> bool:
    """Whether, on the rows it would be chosen for, the new model is worth leaving the best constant, by one
    standard error; the best constant by its outcomes where the table has them, else as expected."""
    router = Router(artifact)
    header = router.header
    batch = router.route_features(router.features_of(outcomes))
    new, old = router.models.index(name), router.models.index(best)
    policy = header["policy"]
    weight = policy["cost_weight"] if policy["kind"] == "cost_weight" else 0.0
    cost = np.where(np.isfinite(batch.costs), batch.costs, 0.0)
    value = batch.scores - weight * cost
    rows = value.argmax(1) == new
    if rows.sum() < _FEWEST_ROUTED:
        return False
    actual = batch.scores[:, old].astype(np.float64)
    if best in outcomes.models:
        seen = outcomes.quality[:, outcomes.models.index(best)]
        actual = np.where(np.isfinite(seen), seen, actual)
    gained = outcomes.quality[:, outcomes.models.index(name)] - actual + weight * (cost[:, old] - cost[:, new])
    gained, weights = gained[rows], outcomes.weight[rows]
    mean = np.average(gained, weights=weights)
    error = np.sqrt(np.sum((weights / weights.sum()) ** 2 * (gained - mean) ** 2))
    return bool(mean >= error)
