"""Certificates and dials: another policy for an artifact, chosen on rows it was not trained on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import DataError, NotCertifiedError, OptionError
from tiny_dancer.evaluation.guarantee import RISK_BOUNDS, certify, policy_losses
from tiny_dancer.routing import Router
from tiny_dancer.training import confidence as confidence_room
from tiny_dancer.training.data import assign_groups
from tiny_dancer.training.export import with_self_checks
from tiny_dancer.training.fit import digest
from tiny_dancer.training.likeness import with_likeness
from tiny_dancer.training.overlap import refuse_training_rows
from tiny_dancer.training.policy import policies_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from tiny_dancer.evaluation.guarantee import Certification, Risk
    from tiny_dancer.training.policy import Policy
    from tiny_dancer.types import DecisionBatch, Outcomes

    Floats = npt.NDArray[np.float64]

_DIAL_STEPS = 400
_LEVEL = 1 / 8
"""Policies are tested at this share of the asked error rate. The test is so tight that at the rate itself the true
risk may lie right at the bound; whoever then checks on as many new requests, whose mean is as noisy, would find it
broken far more often. At an eighth that check holds at the asked rate as well, for a few more strong calls
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
    """

    artifact: bytes
    policy: Policy
    share: dict[str, float]
    cost: float
    certification: Certification | None


@dataclass(frozen=True, slots=True)
class Expected:
    """What an artifact expects on the rows of a table."""

    header: dict[str, Any]
    names: tuple[str, ...]
    quality: Floats
    cost: Floats | None

    def relative_cost(self, policy: Policy, reference: int) -> float:
        """Mean expected cost of the policy's decisions, always calling the reference being 1."""
        decision = policy.decide(self.quality, self.cost)
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


def _expected(artifact: bytes, outcomes: Outcomes) -> Expected:
    router = Router(artifact)
    if outcomes.features is None:
        raise DataError("features", "none", "read the table with the engine's featuriser")
    return expected_of(router.header, router.route_features(outcomes.features))


def expected_of(header: dict[str, Any], batch: DecisionBatch) -> Expected:
    """Expectations behind a batch of decisions."""
    known = np.isfinite(batch.costs).any()
    return Expected(header, batch.models, batch.scores.astype(np.float64), batch.costs if known else None)


def calibrate(
    artifact: bytes,
    outcomes: Outcomes,
    *,
    max_quality_loss: float,
    confidence: float = 0.9,
    risk: Risk = "mean",
    reference: str | None = None,
    date: str = "",
) -> Calibrated:
    """Certifies the cheapest policy whose risk stays below ``max_quality_loss`` (Learn-then-Test).

    The policies tested were fixed by training, from safest to cheapest; see
    :mod:`tiny_dancer.evaluation.guarantee` for the tests and what they rest on.

    Args:
        artifact: the file's bytes.
        outcomes: rows not trained on, with features, columns in the artifact's order.
        max_quality_loss: ε, bound on the risk.
        confidence: 1 − δ.
        risk: ``mean`` quality lost against the reference, or ``harm``, its positive part.
        reference: model name; the artifact's best constant by default.
        date: to record in the certificate.

    Raises:
        NotCertifiedError: no policy that saves anything passes; says how many rows it would take.
        DataError: rows the artifact was trained on are among them, or there are no outcomes.
        OptionError: an option outside its range.
    """
    if not 0 < confidence < 1:
        raise OptionError("confidence", confidence, "give a share between 0 and 1, such as 0.9")
    expected = _expected(artifact, outcomes)
    if outcomes.models != expected.names:
        remedy = f"read the table with models={list(expected.names)}"
        raise DataError("models", ", ".join(outcomes.models), remedy)
    rows_digest = digest(outcomes)
    if outcomes.features is not None:
        refuse_training_rows(expected.header, outcomes.features)
    best: int = expected.header["best_constant"]
    compared = best if reference is None else expected.index(reference, "reference")
    path = policies_of(expected.header)
    if not path:
        name = expected.names[best]
        raise NotCertifiedError("policy", f"the artifact always calls {name}", "there is nothing to certify")
    decisions = np.stack([policy.decide(expected.quality, expected.cost) for policy in path], axis=1)
    losses = policy_losses(outcomes.quality, decisions, compared, risk=risk)
    certification = certify(
        losses,
        epsilon=max_quality_loss,
        delta=(1 - confidence) * _LEVEL,
        bounds=RISK_BOUNDS[risk],
        group=outcomes.group,
        weight=outcomes.weight,
    )
    index = certification.index
    if index is None or bool((decisions[:, index] == compared).all()):
        needed = certification.rows_needed
        more = (
            "more rows like these would not help: allow a larger loss, or keep the reference"
            if needed is None
            else f"about {needed:,} independent rows would do at the risk observed; or allow a larger loss"
        )
        raise NotCertifiedError(
            "max_quality_loss", f"{max_quality_loss:g} not certified on {certification.n:,} independent rows", more
        )
    policy = path[index]
    guarantee = {
        "epsilon": max_quality_loss,
        "delta": 1 - confidence,
        "risk": risk,
        "reference": expected.names[compared],
        "rows": certification.n,
        "p_value": certification.p_values[index],
        "data_digest": rows_digest,
        "date": date,
        "observed_risk": certification.risks[index],
    }
    found = _under(artifact, expected, policy, guarantee, compared, outcomes)
    return replace(found, certification=certification)


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
    return _core.with_header(artifact, {**header, "models": models, "guarantee": None})


def dial_cost_cut(artifact: bytes, outcomes: Outcomes, cost_cut: float) -> Calibrated:
    """The safest policy that costs at most ``1 − cost_cut`` of always calling the best constant.

    By expected costs on these rows; where there are no costs, by the share of calls to the best constant.

    Raises:
        OptionError: a cut outside (0, 1), or larger than any policy gives.
    """
    if not 0 < cost_cut < 1:
        raise OptionError("cost_cut", cost_cut, "give a share between 0 and 1, such as 0.6")
    expected = _expected(artifact, outcomes)
    best: int = expected.header["best_constant"]
    least = 1.0
    for policy in _fine_path(expected):
        cost = expected.relative_cost(policy, best)
        least = min(least, cost)
        if cost <= 1 - cost_cut + 1e-9:
            return _under(artifact, expected, policy, None, best, outcomes)
    raise OptionError("cost_cut", cost_cut, f"at most {1 - least:.3f} can be cut on these rows")


def dial_share(artifact: bytes, outcomes: Outcomes, model: str, share: float) -> Calibrated:
    """The policy that chooses ``model`` for the share of these rows nearest to ``share``; no labels are read.

    Raises:
        OptionError: an unknown model, a share outside [0, 1], or one no policy comes within .05 of.
    """
    if not 0 <= share <= 1:
        raise OptionError("share", share, "give a share between 0 and 1, such as 0.2")
    expected = _expected(artifact, outcomes)
    index = expected.index(model, "share")
    found = [
        (abs(float(np.mean(policy.decide(expected.quality, expected.cost) == index)) - share), number, policy)
        for number, policy in enumerate(_fine_path(expected))
    ]
    distance, _, policy = min(found, key=lambda item: item[:2], default=(1.0, 0, None))
    if policy is None or distance > 0.05:
        raise OptionError("share", share, f"no policy calls {model} for a share near this")
    return _under(artifact, expected, policy, None, expected.header["best_constant"], None)


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
    tensors = {} if rows is None else confidence_room.refitted(artifact, expected.quality, rows)
    data = _core.with_header(artifact, header, tensors)
    if guarantee is not None and rows is not None and rows.features is not None:
        data = with_likeness(data, rows.features, assign_groups(rows.features, rows.group))
    data = with_self_checks(data)
    return Calibrated(data, policy, expected.share(policy), expected.relative_cost(policy, reference), None)
