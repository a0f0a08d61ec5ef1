"""Certificates and dials: another policy for an artifact, chosen on rows it was not trained on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import DataError, NotCertifiedError, OptionError
from tiny_dancer.evaluation.disguise import Texts
from tiny_dancer.evaluation.groups import independent
from tiny_dancer.evaluation.guarantee import QUALITY_RISKS, RISK_BOUNDS, budget_losses, certify, policy_losses
from tiny_dancer.evaluation.overlap import held_out, training_rows
from tiny_dancer.routing import Router
from tiny_dancer.training import confidence as confidence_room
from tiny_dancer.training.drift import with_drift, without_drift
from tiny_dancer.training.export import with_self_checks
from tiny_dancer.training.fit import digest
from tiny_dancer.training.likeness import with_likeness
from tiny_dancer.training.policy import Policy, policies_of, policy_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from tiny_dancer.evaluation.guarantee import Certification, Risk
    from tiny_dancer.types import DecisionBatch, Outcomes

    Floats = npt.NDArray[np.float64]

_DIAL_STEPS = 400
_SHARE_TOLERANCE = 0.05
_BEYOND = 1e-6
"""How far beyond all gains seen a threshold lies that tells none of them apart."""
_LEVEL = 1 / 4
"""Policies are tested at this share of the asked error rate. The test is so tight that at the rate itself the true
risk may lie right at the bound; whoever then checks on as many new requests, whose mean is as noisy, would find it
broken far more often. At a quarter that check holds at the asked rate as well, for a few more strong calls
(benchmarks/quality/bench_guarantee.py)."""


@dataclass(frozen=True, slots=True)
class Calibrated:
    """An artifact under another policy.

    Attributes:
        artifact: the file's bytes.
        policy: the policy now in force.
        share: of the rows each model is chosen for, by name.
        cost: mean expected cost of a decision relative to always calling the reference; the share of calls to
            it where there are no costs.
        certification: what the certificate rests on; None for a dial.
        dropped: rows left out of calibration because they equal, or nearly equal, rows trained on.
    """

    artifact: bytes
    policy: Policy
    share: dict[str, float]
    cost: float
    certification: Certification | None
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Expected:
    """What an artifact expects on the rows of a table."""

    header: dict[str, Any]
    names: tuple[str, ...]
    quality: Floats
    cost: Floats | None

    def rows(self, index: npt.NDArray[np.int64]) -> Expected:
        """The same, of some rows."""
        cost = None if self.cost is None else self.cost[index]
        return replace(self, quality=self.quality[index], cost=cost)

    def relative_cost(self, policy: Policy, reference: int) -> float:
        """Mean expected cost of the policy's decisions, always calling the reference being 1."""
        decision = policy.decide(self.quality, self.cost)
        if self.cost is None and len(self.names) > 2:
            return 1.0  # nobody can say which is cheaper
        if self.cost is None or not np.isfinite(self.cost[:, reference]).all():
            return float(np.mean(decision == reference))
        chosen = self.cost[np.arange(len(decision)), decision]
        return float(np.nanmean(chosen) / max(float(self.cost[:, reference].mean()), 1e-300))

    def share(self, policy: Policy) -> dict[str, float]:
        """Share of the rows each model is chosen for."""
        decision = policy.decide(self.quality, self.cost)
        return {name: float(np.mean(decision == index)) for index, name in enumerate(self.names)}

    def index(self, model: str, field: str) -> int:
        """Column of a model; OptionError about ``field`` for an unknown one."""
        if model not in self.names:
            raise OptionError(field, repr(model), f"the models are {', '.join(self.names)}")
        return self.names.index(model)


def _read(artifact: bytes, outcomes: Outcomes) -> tuple[Expected, Outcomes]:
    """What the artifact expects, and the rows with features as it takes them."""
    router = Router(artifact)
    features = router.features_of(outcomes)
    return expected_of(router.header, router.route_features(features)), replace(outcomes, features=features)


def expected_of(header: dict[str, Any], batch: DecisionBatch) -> Expected:
    """Expectations behind a batch of decisions."""
    known = np.isfinite(batch.costs).any()
    return Expected(header, batch.models, batch.scores.astype(np.float64), batch.costs if known else None)


def calibrate(
    artifact: bytes,
    outcomes: Outcomes,
    *,
    max_quality_loss: float | None = None,
    confidence: float = 0.9,
    risk: Risk = "mean",
    reference: str | None = None,
    budget: float | None = None,
    max_exceeded: float = 0.05,
    batch: int = 1,
    date: str = "",
) -> Calibrated:
    """Certifies a policy (Learn-then-Test): by what it loses in quality, or by what it costs.

    With ``max_quality_loss`` the cheapest policy whose risk stays below it; with ``budget`` the safest policy of
    which at most a share ``max_exceeded`` of the requests costs more. The policies tested were fixed by training,
    from safest to cheapest; see :mod:`tiny_dancer.evaluation.guarantee` for the tests and what they rest on.

    Rows that are kin (copies, near copies, shared passages, the table's own groups) count as one. Rows that equal
    or nearly equal some that the artifact was trained on are left out where there are few of them.

    Args:
        artifact: the file's bytes.
        outcomes: rows not trained on, with features, columns in the artifact's order.
        max_quality_loss: ε, bound on the risk.
        confidence: 1 − δ.
        risk: ``mean`` quality lost against the reference; ``harm``, its positive part; or ``routed``, the share of
            requests on which quality is lost among those not sent to the reference.
        reference: model name; the artifact's best constant by default.
        budget: USD that a request may cost.
        max_exceeded: share of requests (or batches) that may cost more.
        batch: with more than one, what is bounded is the mean cost of a request in a batch of so many.
        date: to record in the certificate.

    Raises:
        NotCertifiedError: no policy that saves anything passes; says how many rows it would take.
        DataError: rows the artifact was trained on are among them, there are no outcomes, or no costs to bound.
        OptionError: an option outside its range, or not exactly one of ``max_quality_loss`` and ``budget``.
    """
    if not 0 < confidence < 1:
        raise OptionError("confidence", confidence, "give a share between 0 and 1, such as 0.9")
    if (max_quality_loss is None) == (budget is None):
        given = "neither" if budget is None else "both"
        raise OptionError("max_quality_loss, budget", given, "give one of them")
    expected, outcomes = _read(artifact, outcomes)
    if outcomes.models != expected.names:
        remedy = f"read the table with models={list(expected.names)}"
        raise DataError("models", ", ".join(outcomes.models), remedy)
    assert outcomes.features is not None
    kept = held_out(training_rows(expected.header, outcomes.features, Texts.of(outcomes)))
    dropped = len(outcomes) - len(kept)
    if dropped:
        outcomes = outcomes.rows(kept)
        expected = expected.rows(kept)
    outcomes = independent(outcomes)
    path = policies_of(expected.header)
    best: int = expected.header["best_constant"]
    if not path:
        name = expected.names[best]
        raise NotCertifiedError("policy", f"the artifact always calls {name}", "there is nothing to certify")
    asked = _Asked(outcomes, expected, path, (1 - confidence) * _LEVEL, best)
    if budget is not None:
        found = asked.within_budget(budget, max_exceeded, batch)
    else:
        assert max_quality_loss is not None
        found = asked.quality_kept(max_quality_loss, risk, reference)
    guarantee = {
        **found.stated,
        "delta": 1 - confidence,
        "rows": found.certification.n,
        "data_digest": digest(outcomes),
        "date": date,
    }
    result = _under(artifact, expected, found.policy, guarantee, found.compared, outcomes)
    return replace(result, certification=found.certification, dropped=dropped)


@dataclass(frozen=True, slots=True)
class _Certified:
    """A policy that passed, what its certificate says of it, and the model it is compared with."""

    policy: Policy
    stated: dict[str, Any]
    compared: int
    certification: Certification


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is tested: independent rows, what is expected on them, the policies from safest to cheapest."""

    outcomes: Outcomes
    expected: Expected
    path: list[Policy]
    level: float
    best: int

    def _decisions(self, path: list[Policy]) -> npt.NDArray[np.int64]:
        return np.stack([policy.decide(self.expected.quality, self.expected.cost) for policy in path], axis=1)

    def quality_kept(self, epsilon: float, risk: Risk, reference: str | None) -> _Certified:
        """The cheapest policy that loses no more than ``epsilon``."""
        if risk not in QUALITY_RISKS:
            raise OptionError("risk", risk, f"choose {', '.join(QUALITY_RISKS)}")
        if not 0 < epsilon < 1:
            raise OptionError("max_quality_loss", epsilon, "give a quality loss between 0 and 1, such as 0.05")
        compared = self.best if reference is None else self.expected.index(reference, "reference")
        decisions = self._decisions(self.path)
        certification = certify(
            policy_losses(self.outcomes.quality, decisions, compared, risk=risk),
            epsilon=epsilon,
            delta=self.level,
            bounds=RISK_BOUNDS[risk],
            group=self.outcomes.group,
            weight=self.outcomes.weight,
            binary=risk == "routed",
            among=decisions != compared if risk == "routed" else None,
        )
        index = certification.index
        if index is None or bool((decisions[:, index] == compared).all()):
            raise _not_certified("max_quality_loss", epsilon, certification, "allow a larger loss")
        stated = {
            "epsilon": epsilon,
            "risk": risk,
            "reference": self.expected.names[compared],
            "p_value": certification.p_values[index],
            "observed_risk": certification.risks[index],
        }
        return _Certified(self.path[index], stated, compared, certification)

    def within_budget(self, budget: float, most: float, batch: int) -> _Certified:
        """The safest policy that rarely costs more than ``budget``: walked from the cheapest on."""
        if not (np.isfinite(budget) and budget > 0):
            raise OptionError("budget", budget, "give USD above 0")
        if not 0 < most < 1:
            raise OptionError("max_exceeded", most, "give a share between 0 and 1, such as 0.05")
        if batch < 1:
            raise OptionError("batch", batch, "give at least 1")
        if self.outcomes.cost is None:
            raise DataError("total_cost", "the table has no costs", "add <model>|total_cost in USD")
        units = len(np.unique(self.outcomes.group))
        if units < batch:
            raise OptionError("batch", batch, f"give at most {units}, as many as there are independent rows")
        path = self.path[::-1]
        losses, group = budget_losses(
            self.outcomes.cost, self._decisions(path), budget, batch=batch, group=self.outcomes.group
        )
        certification = certify(
            losses,
            epsilon=most,
            delta=self.level,
            bounds=RISK_BOUNDS["cost"],
            group=group,
            weight=self.outcomes.weight,
            binary=True,
        )
        index = certification.index
        if index is None:
            raise _not_certified("budget", budget, certification, "allow a larger budget or share")
        stated = {
            "epsilon": most,
            "risk": "cost",
            "reference": self.expected.names[self.best],
            "p_value": certification.p_values[index],
            "observed_risk": certification.risks[index],
            "budget": budget,
            "batch": batch,
        }
        return _Certified(path[index], stated, self.best, certification)


def _not_certified(field: str, asked: float, certification: Certification, instead: str) -> NotCertifiedError:
    needed = certification.rows_needed
    more = (
        f"more rows like these would not help: {instead}, or keep the reference"
        if needed is None
        else f"about {needed:,} independent rows would do at the risk observed; or {instead}"
    )
    return NotCertifiedError(field, f"{asked:g} cannot be shown on {certification.n:,} independent rows", more)


def with_models(artifact: bytes, names: Mapping[str, str]) -> bytes:
    """The artifact with models renamed: what a role stands for, say. A certificate it carried goes.

    Raises:
        OptionError: a name the artifact does not have.
    """
    header = _core.read_header(artifact)
    known = [model["name"] for model in header["models"]]
    for name in names:
        if name not in known:
            raise OptionError("map", name, f"the artifact's models are {', '.join(known)}")
    if not names:
        return artifact
    models = [{**model, "name": names.get(model["name"], model["name"])} for model in header["models"]]
    ended = {} if header["guarantee"] is None else {"certificate_ended": "other_models"}
    return _core.with_header(artifact, {**header, "models": models, "guarantee": None, **ended})


def dial_cost_cut(artifact: bytes, outcomes: Outcomes, cost_cut: float) -> Calibrated:
    """The safest policy that costs at most ``1 − cost_cut`` of always calling the best constant.

    By expected costs on these rows; where there are no costs, by the share of calls to the best constant.

    Raises:
        OptionError: a cut outside (0, 1), or larger than any policy gives.
    """
    if not 0 < cost_cut < 1:
        raise OptionError("cost_cut", cost_cut, "give a share between 0 and 1, such as 0.6")
    expected, outcomes = _read(artifact, outcomes)
    best: int = expected.header["best_constant"]
    if expected.cost is None and len(expected.names) > 2:
        remedy = "nobody said what the models cost: train with prices (--prices) or on a table with costs"
        raise OptionError("cost_cut", cost_cut, remedy)
    least = 1.0
    for policy in _fine_path(expected):
        cost = expected.relative_cost(policy, best)
        least = min(least, cost)
        if cost <= 1 - cost_cut + 1e-9:
            return _under(artifact, expected, policy, None, best, outcomes)
    raise OptionError("cost_cut", cost_cut, f"at most {1 - least:.3f} can be cut on these rows")


def dial_share(artifact: bytes, outcomes: Outcomes, model: str | None, share: float) -> Calibrated:
    """The policy that chooses ``model`` for the share of these rows nearest to ``share``; no labels are read.

    Between two models the threshold lies midway between two neighbouring gains, so that these rows are shared out
    to within half a row, ties aside. What other rows like these get then differs from ``share`` by about
    sqrt(share · (1 - share) / n), the standard error of a quantile's level: .03 for 200 rows.

    Args:
        artifact: the file's bytes.
        outcomes: n rows with features.
        model: a name of the artifact's; None is the best constant, the strong one of two.
        share: of the rows.

    Raises:
        OptionError: an unknown model, a share outside [0, 1], or one no policy comes within .05 of; where equal
            gains are the reason it says so.
    """
    if not 0 <= share <= 1:
        raise OptionError("share", share, "give a share between 0 and 1, such as 0.2")
    expected, outcomes = _read(artifact, outcomes)
    best: int = expected.header["best_constant"]
    index = best if model is None else expected.index(model, "share")
    path = _between(expected) if len(expected.names) == 2 else _fine_path(expected)
    shares = [float(np.mean(policy.decide(expected.quality, expected.cost) == index)) for policy in path]
    distance, number = min(
        ((round(abs(given - share), 9), number) for number, given in enumerate(shares)), default=(1.0, -1)
    )
    if distance > _SHARE_TOLERANCE:
        name = expected.names[index]
        below = max((given for given in shares if given < share), default=None)
        above = min((given for given in shares if given > share), default=None)
        near = " and ".join(f"{given:.3f}" for given in (below, above) if given is not None)
        remedy = f"no policy calls {name} for a share near this: the nearest are {near or 'none'}"
        if len(expected.names) == 2:
            remedy += "; requests of equal gain cannot be told apart"
        elif expected.cost is None:
            remedy += "; nobody said what the models cost: train with prices (--prices), or on a table with costs"
        raise OptionError("share", share, remedy)
    return _under(artifact, expected, path[number], None, best, None)


def _between(expected: Expected) -> list[Policy]:
    """Thresholds that tell two models' requests apart, one between any two neighbouring gains and at both ends."""
    header = expected.header
    best: int = header["best_constant"]
    cleared = tuple(bool(model["cleared"]) for model in header["models"])
    gain = np.unique(expected.quality[:, best] - expected.quality[:, 1 - best])
    levels = [float(gain[0]) - _BEYOND, *((gain[1:] + gain[:-1]) / 2).tolist(), float(gain[-1]) + _BEYOND]
    return [Policy("threshold", best, level, "calls", cleared) for level in levels]


def _fine_path(expected: Expected) -> list[Policy]:
    """The training path with steps as fine as these rows tell apart."""
    path = policies_of(expected.header)
    if not path:
        return []
    if path[0].kind == "threshold":
        best = path[0].best_constant
        gain = np.unique(expected.quality[:, best] - expected.quality[:, 1 - best])
        return [replace(path[0], level=float(level)) for level in np.append(gain, gain[-1] + 1e-6)]
    levels = np.array([policy.level for policy in path])
    if not (levels > 0).any():  # without costs quality alone decides
        return path
    fine = np.geomspace(levels[levels > 0].min(), levels.max() * 10, _DIAL_STEPS)
    return [replace(path[0], level=float(level)) for level in np.append(0.0, fine)]


def _under(
    artifact: bytes,
    expected: Expected,
    policy: Policy,
    guarantee: dict[str, Any] | None,
    reference: int,
    rows: Outcomes | None,
) -> Calibrated:
    """The artifact under the policy, its confidence refitted on rows; a certificate knows what they are like."""
    header = {**_core.read_header(artifact), "policy": policy.header(), "guarantee": guarantee}
    header.pop("certificate_ended", None)
    named = header.get("policies")
    if named is not None:
        # Whoever asks for the cheapest must not be given a dearer one than is in force.
        cheapest = policy_of({**header, "policy": named["cheapest"]})
        if expected.relative_cost(cheapest, reference) > expected.relative_cost(policy, reference):
            header["policies"] = {**named, "cheapest": policy.header()}
    tensors = {} if rows is None else confidence_room.refitted(artifact, expected.quality, rows)
    data = _core.artifact_bytes(header, _core.read_tensors(artifact) | tensors)
    if guarantee is not None and rows is not None and rows.features is not None:
        data = with_drift(with_likeness(data, rows.features, rows.group), rows.features, rows.group)
    else:
        data = without_drift(data)
    data = with_self_checks(data)
    return Calibrated(data, policy, expected.share(policy), expected.relative_cost(policy, reference), None)
