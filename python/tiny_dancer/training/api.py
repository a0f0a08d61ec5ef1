"""The functions users call: tables, artifacts and routers in, as paths or as objects."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from tiny_dancer import _core
from tiny_dancer.evaluation.router import evaluate_router
from tiny_dancer.routing import Router, featurise, read_artifact
from tiny_dancer.training import calibrate as calibrate_room
from tiny_dancer.training import fit as fit_room
from tiny_dancer.training.augment import better_of, with_copies
from tiny_dancer.training.backends import families_named
from tiny_dancer.training.data import read_outcomes as read_table
from tiny_dancer.types import Outcomes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tiny_dancer.evaluation.guarantee import Risk
    from tiny_dancer.evaluation.results import Evaluation
    from tiny_dancer.training.calibrate import Calibrated
    from tiny_dancer.training.fit import Fitted
    from tiny_dancer.training.policy import PolicyName

Table: TypeAlias = "Outcomes | str | os.PathLike[str] | Sequence[str | os.PathLike[str]]"
Artifact: TypeAlias = "bytes | str | os.PathLike[str]"


def read_outcomes(
    table: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    models: Sequence[str] | None = None,
    require_quality: bool = True,
) -> Outcomes:
    """Reads outcomes tables (Parquet, CSV, JSONL, plain or featurised) and computes the engine's features.

    Args:
        table: the file, or files that are joined row below row.
        models: these models only, in this order.
        require_quality: False never reads the label columns: for predicting.

    Raises:
        DataError: anything that cannot be used, naming column, row, value and remedy.
    """
    paths = [table] if isinstance(table, str | os.PathLike) else list(table)
    return read_table(
        [Path(path) for path in paths],
        models=models,
        require_quality=require_quality,
        featurise=featurise,
        feature_spec=_core.feature_spec(),
    )


def _outcomes(table: Table, models: Sequence[str] | None = None) -> Outcomes:
    return table if isinstance(table, Outcomes) else read_outcomes(table, models=models)


def fit(
    table: Table,
    *,
    models: Sequence[str] | None = None,
    seed: int = 0,
    created: str = "",
    augment: bool = False,
    backends: Sequence[str] | None = None,
    policy: PolicyName = "balanced",
    progress: Callable[[str], None] = lambda _: None,
) -> Fitted:
    """Trains a router on outcomes; see :func:`tiny_dancer.training.fit.fit`.

    With ``augment`` a second router is trained on perturbed copies as well, and kept where held-out rows say that
    it explains the differences between models at least as well; this needs the prompts.

    Three policies are fixed on held-out rows, and ``policy`` names the one in force: ``quality`` (the most
    quality), ``balanced`` (no quality given up, then the cheapest) or ``cheapest`` (at most .02 of quality given
    up). Each leaves the best constant model only as far as a lower bound on held-out outcomes supports it; callers
    of the router can ask for the others by the same names.

    Raises:
        TrainingError: nothing to train on, or ``augment`` on a table without text.
        OptionError: an unknown backend or policy.

    Example:
        fitted = tiny_dancer.fit("outcomes.parquet")
        Path("router.safetensors").write_bytes(fitted.artifact)
    """
    outcomes = _outcomes(table, models)
    families = families_named(backends)
    copies = with_copies(outcomes, seed) if augment else None
    plain = fit_room.fit(outcomes, seed=seed, families=families, policy=policy, created=created, progress=progress)
    if copies is None:
        return plain
    other = fit_room.fit(copies, seed=seed, families=families, policy=policy, created=created, progress=progress)
    return better_of(plain, other)


def calibrate(
    artifact: Artifact,
    table: Table,
    *,
    max_quality_loss: float,
    confidence: float = 0.9,
    risk: Risk = "mean",
    reference: str | None = None,
    date: str = "",
    models: Mapping[str, str] | None = None,
) -> Calibrated:
    """Certifies the cheapest policy within a loss of quality.

    ``models`` maps the artifact's names (roles, say) to the table's; see
    :func:`tiny_dancer.training.calibrate.calibrate` for the rest.
    """
    data = calibrate_room.with_models(_bytes(artifact), models or {})
    return calibrate_room.calibrate(
        data,
        _outcomes(table, _names(data)),
        max_quality_loss=max_quality_loss,
        confidence=confidence,
        risk=risk,
        reference=reference,
        date=date,
    )


def evaluate(
    artifact: Artifact, table: Table, *, seed: int = 0, models: Mapping[str, str] | None = None
) -> Evaluation:
    """Judges an artifact on rows it was not trained on, beside every baseline, with paired intervals.

    ``models`` maps the artifact's names (roles, say) to the table's.
    """
    data = calibrate_room.with_models(_bytes(artifact), models or {})
    title = "router" if isinstance(artifact, bytes) else str(artifact)
    return evaluate_router(Router(data), _outcomes(table, _names(data)), seed=seed, title=title)


def _bytes(artifact: Artifact) -> bytes:
    return artifact if isinstance(artifact, bytes) else read_artifact(artifact)


def _names(data: bytes) -> list[str]:
    return [model["name"] for model in _core.read_header(data)["models"]]
