"""The functions users call: tables, artifacts and routers in, as paths or as objects."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tiny_dancer import _core, files
from tiny_dancer.errors import DataError, OptionError
from tiny_dancer.evaluation.groups import independent
from tiny_dancer.evaluation.router import evaluate_router
from tiny_dancer.routing import Router, featurise, read_artifact
from tiny_dancer.training import calibrate as calibrate_room
from tiny_dancer.training import change as change_room
from tiny_dancer.training import fit as fit_room
from tiny_dancer.training.augment import better_of, with_copies
from tiny_dancer.training.backends import families_named
from tiny_dancer.training.change import PRIOR_ROWS
from tiny_dancer.training.data import read_outcomes as read_table
from tiny_dancer.training.data.raw import not_readable
from tiny_dancer.training.data.split import split_rows
from tiny_dancer.types import Outcomes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from tiny_dancer.evaluation.guarantee import Risk
    from tiny_dancer.evaluation.results import Evaluation
    from tiny_dancer.training.calibrate import Calibrated
    from tiny_dancer.training.change import Added
    from tiny_dancer.training.fit import Fitted
    from tiny_dancer.training.policy import PolicyName
    from tiny_dancer.types import ModelInfo

# A file; a DataFrame of pandas or polars or an Arrow table; several of these, joined row below row; or outcomes.
Table: TypeAlias = "Outcomes | str | os.PathLike[str] | Any"
LARGEST_TEXT = 1 << 30
"""Bytes of a file of prompts."""
Artifact: TypeAlias = "bytes | str | os.PathLike[str]"


def read_outcomes(
    table: str | os.PathLike[str] | Any,
    *,
    models: Sequence[str] | None = None,
    scale: tuple[float, float] | None = None,
    require_quality: bool = True,
) -> Outcomes:
    """Reads outcomes tables, plain or featurised, and computes the engine's features.

    Files are Parquet, CSV or TSV as people have them (semicolons, tabs, decimal commas, UTF-16, ``sep=;``), JSONL,
    a JSON list of objects, or xlsx (extra ``xlsx``); tables in memory are DataFrames of pandas or polars, Arrow's,
    or anything with ``__arrow_c_stream__`` or ``__dataframe__``.

    Args:
        table: the file or the table in memory, or a list of them, joined row below row.
        models: these models only, in this order; without, the columns that are models unmistakably.
        scale: what the lowest and the highest quality are in the table, such as (1, 5); without, 0 and 1.
        require_quality: False never reads the label columns: for predicting.

    Raises:
        DataError: anything that cannot be used, naming column, row, value and remedy.
    """
    return read_table(
        table,
        models=models,
        scale=scale,
        require_quality=require_quality,
        featurise=featurise,
        feature_spec=_core.feature_spec(),
    )


def read_prompts(table: str | os.PathLike[str] | Any) -> Outcomes:
    """Reads requests without outcomes: tables as :func:`read_outcomes`, or one ``.txt`` of one prompt a line.

    Raises:
        DataError: anything that cannot be used, naming column, row, value and remedy.
    """
    only = table[0] if isinstance(table, list | tuple) and len(table) == 1 else table
    if not (isinstance(only, str | os.PathLike) and Path(only).suffix.lower() == ".txt"):
        return read_outcomes(table, require_quality=False)
    path = Path(only)
    try:
        lines = files.read(path, most=LARGEST_TEXT).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(path.name, f"byte {error.start} is no UTF-8", "write the file as UTF-8") from error
    except OSError as error:
        raise not_readable(path, error) from error
    prompts = tuple(line for line in lines if line.strip())
    if not prompts:
        raise DataError("table", f"{path.name} has no prompts", "write one prompt a line")
    n = len(prompts)
    return Outcomes(
        sample_id=tuple(f"row-{row}" for row in range(n)),
        task=("",) * n,
        models=(),
        quality=np.empty((n, 0)),
        cost=None,
        latency=None,
        weight=np.ones(n),
        group=np.arange(n),
        prompt=prompts,
        features=featurise(prompts, None, None),
    )


def split_outcomes(
    table: Table,
    *,
    test: float = 0.3,
    calibrate: float | None = None,
    time: npt.ArrayLike | None = None,
    models: Sequence[str] | None = None,
    scale: tuple[float, float] | None = None,
    seed: int = 0,
) -> tuple[Outcomes, ...]:
    """Splits outcomes into rows to train on and rows to test on, and rows to calibrate on where asked for.

    Equal requests, near duplicates, shared passages and the table's groups lie in one part, as in training; a
    split that lets them apart flatters what is judged on it.

    Args:
        table: n outcomes, or a table as :func:`read_outcomes` takes it, with its ``models`` and ``scale``.
        test: share of the rows to test on.
        calibrate: share of the rows to calibrate on; None for no such part.
        time: [n] numbers that grow with time: the latest rows are to be tested on, those before to be calibrated
            on. A group goes where its latest row does, so that nothing trained on is later than what is judged.
        models: as in :func:`read_outcomes`.
        scale: as in :func:`read_outcomes`.
        seed: of the drawing, where no times are given.

    Returns:
        Outcomes to train on, (to calibrate on,) to test on; rows keep their order.

    Raises:
        OptionError: shares that leave nothing to train on, or times that are not n finite numbers.
        DataError: fewer groups than parts; outcomes without features.
    """
    outcomes = _outcomes(table, models, scale)
    if outcomes.features is None:
        raise DataError("features", "none", "featurise the outcomes first, as read_outcomes does")
    moments = None if time is None else np.asarray(time, np.float64)
    if moments is not None and (moments.shape != (len(outcomes),) or not np.isfinite(moments).all()):
        raise OptionError("time", f"shape {moments.shape}", f"give {len(outcomes)} finite numbers")
    shares = [test] if calibrate is None else [calibrate, test]
    part = split_rows(independent(outcomes).group, shares, time=moments, seed=seed)
    return tuple(outcomes.rows(np.flatnonzero(part == number)) for number in range(len(shares) + 1))


def _outcomes(table: Table, models: Sequence[str] | None, scale: tuple[float, float] | None) -> Outcomes:
    if not isinstance(table, Outcomes):
        return read_outcomes(table, models=models, scale=scale)
    if scale is not None:
        raise OptionError("scale", scale, "outcomes in memory are in [0, 1]: give the scale to read_outcomes")
    return table


def fit(
    table: Table,
    *,
    models: Sequence[str] | None = None,
    scale: tuple[float, float] | None = None,
    seed: int = 0,
    created: str = "",
    augment: bool = False,
    backends: Sequence[str] | None = None,
    policy: PolicyName = "balanced",
    prices: Mapping[str, float | ModelInfo] | None = None,
    encoder: bool = True,
    progress: Callable[[str], None] = lambda _: None,
) -> Fitted:
    """Trains a router on outcomes; see :func:`tiny_dancer.training.fit.fit`.

    ``models`` and ``scale`` are as in :func:`read_outcomes`.

    With ``augment`` a second router is trained on perturbed copies as well, and kept where held-out rows say that
    it explains the differences between models at least as well; this needs the prompts. ``prices`` says what
    models cost, by name: USD a request, or a :class:`~tiny_dancer.ModelInfo`.

    Three policies are fixed on held-out rows, and ``policy`` names the one in force: ``quality`` (the most
    quality), ``balanced`` (no quality given up, then the cheapest) or ``cheapest`` (at most .02 of quality given
    up). Each leaves the best constant model only as far as a lower bound on held-out outcomes supports it; callers
    of the router can ask for the others by the same names.

    Without ``encoder`` the artifact needs no static encoder, which is 7.8 MB: for browsers, workers at the edge
    and databases. It sees no embedding of a request and not how alike its options are.

    Raises:
        TrainingError: nothing to train on, or ``augment`` on a table without text.
        OptionError: an unknown backend or policy, or prices that do not fit the table's models.

    Example:
        fitted = tiny_dancer.fit("outcomes.parquet")
        Path("router.safetensors").write_bytes(fitted.artifact)
    """
    outcomes = _outcomes(table, models, scale)
    families = families_named(backends)
    copies = with_copies(outcomes, seed) if augment else None

    def trained(rows: Outcomes) -> Fitted:
        return fit_room.fit(
            rows,
            seed=seed,
            families=families,
            policy=policy,
            prices=prices,
            encoder=encoder,
            created=created,
            progress=progress,
        )

    plain = trained(outcomes)
    return plain if copies is None else better_of(plain, trained(copies))


def calibrate(
    artifact: Artifact,
    table: Table,
    *,
    max_quality_loss: float | None = None,
    confidence: float = 0.9,
    risk: Risk = "mean",
    reference: str | None = None,
    budget: float | None = None,
    max_exceeded: float = 0.05,
    batch: int = 1,
    date: str = "",
    models: Mapping[str, str] | None = None,
    scale: tuple[float, float] | None = None,
) -> Calibrated:
    """Certifies the cheapest policy within a loss of quality, or the safest one within a budget.

    ``models`` maps the artifact's names (roles, say) to the table's, and ``scale`` is that of its quality; see
    :func:`tiny_dancer.training.calibrate.calibrate` for the rest.
    """
    data = calibrate_room.with_models(_bytes(artifact), models or {})
    return calibrate_room.calibrate(
        data,
        _outcomes(table, _names(data), scale),
        max_quality_loss=max_quality_loss,
        confidence=confidence,
        risk=risk,
        reference=reference,
        budget=budget,
        max_exceeded=max_exceeded,
        batch=batch,
        date=date,
    )


def evaluate(
    artifact: Artifact,
    table: Table,
    *,
    seed: int = 0,
    models: Mapping[str, str] | None = None,
    scale: tuple[float, float] | None = None,
) -> Evaluation:
    """Judges an artifact on rows it was not trained on, beside every baseline, with paired intervals.

    ``models`` maps the artifact's names (roles, say) to the table's; ``scale`` is that of its quality.
    """
    data = calibrate_room.with_models(_bytes(artifact), models or {})
    title = "router" if isinstance(artifact, bytes) else str(artifact)
    return evaluate_router(Router(data), _outcomes(table, _names(data), scale), seed=seed, title=title)


def _bytes(artifact: Artifact) -> bytes:
    return artifact if isinstance(artifact, bytes) else read_artifact(artifact)


def _names(data: bytes) -> list[str]:
    return [model["name"] for model in _core.read_header(data)["models"]]


def add_model(
    artifact: Artifact,
    name: str,
    table: Table | None = None,
    *,
    like: str | None = None,
    prior_rows: float = PRIOR_ROWS,
    scale: tuple[float, float] | None = None,
    price: float | ModelInfo | None = None,
) -> Added:
    """Adds a model to an artifact, from outcomes of it or from a model that it is taken to be like.

    See :func:`tiny_dancer.training.change.add_model`.

    Example:
        added = tiny_dancer.add_model("router.safetensors", "new-model", "its-outcomes.csv")
        Path("router-2.safetensors").write_bytes(added.artifact)
    """
    data = _bytes(artifact)
    outcomes = None if table is None else _with_best(table, name, data, scale)
    return change_room.add_model(data, name, outcomes, like=like, prior_rows=prior_rows, price=price)


def _with_best(table: Table, name: str, artifact: bytes, scale: tuple[float, float] | None) -> Outcomes:
    """Outcomes of the new model, and of the artifact's best constant where the table has them."""
    header = _core.read_header(artifact)
    if "best_constant" in header and not isinstance(table, Outcomes):
        try:
            return _outcomes(table, [name, header["models"][header["best_constant"]]["name"]], scale)
        except DataError:
            pass  # what is wrong with the new model's own column is said below
    return _outcomes(table, [name], scale)
