"""Outcomes tables to outcomes: one rule for every format, every refusal with its row and remedy."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from tiny_dancer.errors import DataError
from tiny_dancer.training.data import arrow, featurised, long
from tiny_dancer.training.data.columns import (
    COST,
    IGNORED_COLUMNS,
    KNOWN_COLUMNS,
    LATENCY,
    MOST,
    RESPONSE,
    TEXT_COLUMNS,
    Checker,
    Parsed,
    checked_scale,
    joined_prompt,
)
from tiny_dancer.training.data.join import Part, joined
from tiny_dancer.training.data.models import chosen_models, not_used
from tiny_dancer.training.data.raw import DataWarning, is_frame, read_raw

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tiny_dancer.training.data.raw import RawTable
    from tiny_dancer.types import FeatureTable, Outcomes

# Columns that may have been meant.
_LIKE_PROMPT = ("prompt", "prompts", "query", "question", "input", "text", "instruction", "request")

# A file, or a table in memory: see :func:`tiny_dancer.training.data.raw.is_frame`.
Table: TypeAlias = "str | os.PathLike[str] | Any"


class Featurise(Protocol):
    """Turns requests into engine features; the engine's own featuriser is one."""

    def __call__(
        self,
        prompts: Sequence[str],
        messages: Sequence[str | None] | None,
        tools: Sequence[str | None] | None,
        /,
    ) -> FeatureTable:
        """The features of each request, in order."""
        ...


def read_outcomes(
    paths: Table | Sequence[Table],
    *,
    models: Sequence[str] | None = None,
    scale: tuple[float, float] | None = None,
    require_quality: bool = True,
    featurise: Featurise | None = None,
    feature_spec: str | None = None,
) -> Outcomes:
    """Reads outcomes tables and joins them row below row.

    Files are Parquet, CSV, TSV, JSONL, a JSON list of objects or xlsx (extra ``xlsx``), told apart by suffix; text
    may be gzipped. CSV may be separated by commas, semicolons or tabs (as its header, or a line ``sep=;`` before
    it, says), with a comma for the decimal point where it does not separate; in UTF-8, UTF-16, or, with a warning,
    in what is unmistakably Windows-1252. Tables in memory are DataFrames of pandas or polars, Arrow's tables, or
    whatever else has ``__arrow_c_stream__`` or ``__dataframe__``.

    Rows keep their order, file after file. A model that one file lacks is not observed in its rows.
    A missing ``sample_id`` column is numbered (``row-0``; ``<file stem>-0`` with several files); an id
    that occurs twice is refused, within a file and across. Equal ``group`` labels are one group, also
    across files; a row without one is a group of its own. A row of chat messages without a prompt has
    the prompt "". Quality may be null, NaN or empty: not observed.

    A table of one row a request and model is pivoted (:mod:`tiny_dancer.training.data.long`); so are logs of
    LiteLLM, exports of Langfuse, and runs of OpenAI's evals.

    The models are the columns of numbers or booleans (in text too) whose name says so, or whose cost, latency or
    response beside them does; or all such columns, where all their names are plain words
    (:mod:`tiny_dancer.training.data.models`). Left unused without a word: index columns, RouterBench's
    ``oracle_model_to_route_to`` and ``|model_response``; with a ``DataWarning``: other columns of text, lists or
    dates, costs of no model, columns without any value, and numbers that measure something else
    (``difficulty``, ``temperature``). Text that is a number in some rows only is refused.
    In RouterBench's tables a prompt that is a list of strings is joined by line breaks.

    Args:
        paths: the tables, or the one table: files or tables in memory.
        models: read these models only, in this order.
        scale: what the lowest and the highest quality are in the tables, such as (1, 5) for a judge's grades; they
            become 0 and 1. Without it quality is in [0, 1].
        require_quality: False reads only what predicting needs; no label, cost or weight is touched.
        featurise: makes the features of plain tables; without it plain and featurised do not join.
        feature_spec: refuse featurised tables made to any other specification.

    Raises:
        DataError: anything in a file that cannot be used, naming column, row, value and remedy.
    """
    if isinstance(paths, str | os.PathLike) or is_frame(paths):
        paths = [paths]
    if not paths:
        raise DataError("table", "none given", "name at least one outcomes table")
    if models is not None and len(set(models)) < len(models):
        raise DataError("models", ", ".join(models), "name each model once")
    if scale is not None:
        scale = checked_scale(scale)
    raws = [read_raw(path, lambda name: _wanted(name, models, require_quality)) for path in paths]
    raws = _told_apart(paths, raws)
    raws = long.widened(raws, require_quality=require_quality)
    checkers = [named(raw, f"{raw.stem}-" if len(raws) > 1 else "row-") for raw in raws]
    _check_specs(raws, feature_spec, featurise)
    unused: list[str] = []
    chosen = chosen_models(checkers, models, unused) if require_quality else ()
    parts = [_part(checker, chosen, scale, require_quality, featurise) for checker in checkers]
    if models is None:
        chosen = _observed(parts, chosen, unused)
    for reason in unused:
        warnings.warn(DataWarning(reason), stacklevel=2)
    return joined(parts, chosen)


def _wanted(name: str, models: Sequence[str] | None, require_quality: bool) -> bool:
    if name in IGNORED_COLUMNS or name.endswith(RESPONSE):
        return False
    if name in featurised.FEATURE_COLUMNS or name in TEXT_COLUMNS:
        return True
    if not require_quality:
        return name in ("sample_id", "eval_name") or name in long.REQUEST_COLUMNS
    if models is None or name in KNOWN_COLUMNS or name in long.REQUEST_COLUMNS or name in long.LABEL_COLUMNS:
        return True
    model, bar, suffix = name.rpartition("|")
    return name in models or (bool(bar) and model in models and suffix in (COST, LATENCY))


def _told_apart(sources: Sequence[object], raws: Sequence[RawTable]) -> list[RawTable]:
    """The tables with stems of their own, so that rows of two tables of one name have names of their own.

    The same table given twice keeps its stem, and is refused for it.
    """
    stems: dict[object, str] = {}
    # What long tables are pivoted into is called so.
    used = {"row"} if any(long.is_long(raw.names) for raw in raws) else set()
    apart = []
    for source, raw in zip(sources, raws, strict=True):
        same = os.path.realpath(source) if isinstance(source, str | os.PathLike) else id(source)
        if same not in stems:
            stem, number = raw.stem, 2
            while stem in used:
                stem, number = f"{raw.stem}-{number}", number + 1
            used.add(stem)
            stems[same] = stem
        apart.append(replace(raw, stem=stems[same]))
    return apart


def _check_specs(raws: Sequence[RawTable], spec: str | None, featurise: Featurise | None) -> None:
    """Refuses featurised tables that do not fit each other, the asked specification, or the plain ones."""
    tables = [raw for raw in raws if featurised.is_featurised(raw)]
    plain = [raw for raw in raws if not featurised.is_featurised(raw)]
    if tables and plain and featurise is None:
        raise DataError(
            "features",
            f"{tables[0].name} is featurised, {plain[0].name} is not",
            "featurise the plain tables first (data featurise TABLE --out F)",
        )
    for raw in tables:
        found = featurised.feature_spec_of(raw)
        if found is None:
            raise DataError("features", f"{raw.name} does not say how it was featurised", featurised.REMEDY)
        wanted = spec if spec is not None else featurised.feature_spec_of(tables[0])
        if found != wanted:
            other = "this version's features" if spec is not None else tables[0].name
            raise DataError(
                "features", f"{raw.name} was featurised otherwise than {other}: {found}", featurised.REMEDY
            )


def named(raw: RawTable, prefix: str = "row-") -> Checker:
    """A table that has rows and requests, with the rows' names."""
    has_requests = (
        featurised.is_featurised(raw) or {"prompt", "messages"} & set(raw.names) or long.is_long(raw.names)
    )
    if raw.names and not has_requests:
        shown = ", ".join(map(repr, raw.names[:12]))
        close = next((name for name in raw.names if name.strip().lower() in _LIKE_PROMPT), None)
        remedy = "add the prompts" if close is None else f"rename {close!r} to 'prompt', if these are the prompts"
        raise DataError("prompt", f"no such column in {raw.name}, which has {shown}", remedy)
    if raw.rows == 0:
        raise DataError("table", f"{raw.name} has no rows", "add rows")
    return Checker(raw, _sample_ids(Checker(raw), prefix))


def _part(
    checker: Checker,
    models: Sequence[str],
    scale: tuple[float, float] | None,
    require_quality: bool,
    featurise: Featurise | None,
) -> Part:
    """One file's values, checked row by row."""
    raw = checker.table
    has_features = featurised.is_featurised(raw)
    columns = raw.columns
    task = checker.texts("eval_name") if "eval_name" in columns else [None] * raw.rows
    weight = np.ones(raw.rows)
    if "weight" in columns:
        remedy = "a weight is a positive, finite number"
        weight = checker.bounded("weight", 0.0, np.inf, remedy)
        wrong = np.flatnonzero(~(weight > 0))
        if len(wrong):
            raise checker.fault("weight", int(wrong[0]), float(weight[wrong[0]]), remedy)
    text = _Text(None, None, None) if has_features else _text(checker)
    features = featurised.read_features(raw) if has_features else None
    if features is None and featurise is not None:
        features = featurise(text.prompt or (), text.messages, text.tools)
    cost_remedy = f"a cost is in USD, from 0 to {MOST:g}; leave it empty where unknown"
    latency_remedy = f"a latency is in seconds, from 0 to {MOST:g}; leave it empty where unknown"
    return Part(
        checker=checker,
        task=tuple(name or "" for name in task),
        weight=weight,
        group=group_labels(checker) if require_quality and "group" in columns else (None,) * raw.rows,
        quality=checker.qualities([model for model in models if model in columns], scale),
        cost=_per_model(checker, models, COST, cost_remedy),
        latency=_per_model(checker, models, LATENCY, latency_remedy),
        prompt=text.prompt,
        tools=text.tools,
        messages=text.messages,
        features=features,
    )


def _sample_ids(checker: Checker, prefix: str) -> tuple[str, ...]:
    raw = checker.table
    if "sample_id" not in raw.columns:
        return tuple(f"{prefix}{row}" for row in range(raw.rows))
    ids: list[str] = []
    for row, name in enumerate(checker.texts("sample_id")):
        if name is None or not name.strip():
            raise checker.fault("sample_id", row, name, "give every row an id, or leave the column out")
        ids.append(name)
    return tuple(ids)


def _per_model(
    checker: Checker, models: Sequence[str], suffix: str, remedy: str
) -> dict[str, npt.NDArray[np.float64]]:
    return {
        model: checker.bounded(f"{model}|{suffix}", 0.0, MOST, remedy)
        for model in models
        if f"{model}|{suffix}" in checker.table.columns
    }


@dataclass(frozen=True, slots=True)
class _Text:
    """The texts of one plain file."""

    prompt: tuple[str, ...] | None
    tools: tuple[str | None, ...] | None
    messages: tuple[str | None, ...] | None


def request_texts(checker: Checker) -> tuple[Sequence[str | None], Sequence[str | None], Sequence[str | None]]:
    """Prompt, messages and tools of each row of a table."""
    found = _text(checker)
    nothing = (None,) * checker.table.rows
    return found.prompt or nothing, found.messages or nothing, found.tools or nothing


def _text(checker: Checker) -> _Text:
    """Prompt, tools and messages; each row needs a prompt or messages."""
    raw = checker.table
    empty: list[str | None] = [None] * raw.rows
    prompts = checker.prompts() if "prompt" in raw.columns else empty
    messages = checker.json_texts("messages") if "messages" in raw.columns else empty
    tools = checker.json_texts("tools") if "tools" in raw.columns else empty
    for row, (prompt, chat) in enumerate(zip(prompts, messages, strict=True)):
        if chat is None and (prompt is None or not prompt.strip()):
            raise checker.fault("prompt", row, prompt, "give the row a prompt or messages, or drop it")
    if any(name == "oracle_model_to_route_to" or name.endswith(RESPONSE) for name in raw.names):
        prompts = [None if prompt is None else joined_prompt(prompt) for prompt in prompts]
    return _Text(
        prompt=tuple(prompt or "" for prompt in prompts),
        tools=tuple(tools) if any(tools) else None,
        messages=tuple(messages) if any(messages) else None,
    )


def group_labels(checker: Checker) -> tuple[int | str | None, ...]:
    """Group labels: whole numbers as such, text as text; null and empty mean none."""
    column = checker.table.columns["group"]
    if arrow.is_integer(column):
        return tuple(arrow.as_python(column))
    if arrow.is_floating(column):
        # pandas turns integers into floats where some are missing.
        labels = arrow.as_floats(column)
        wrong = np.flatnonzero(~np.isnan(labels) & (labels != np.round(labels)))
        if len(wrong) or np.isinf(labels).any():
            row = int(wrong[0] if len(wrong) else np.flatnonzero(np.isinf(labels))[0])
            raise checker.fault("group", row, float(labels[row]), "use whole numbers or text")
        return tuple(None if np.isnan(label) else int(label) for label in labels)
    return tuple(label if label and label.strip() else None for label in checker.texts("group"))


def _observed(parts: Sequence[Part], models: Sequence[str], unused: list[str]) -> tuple[str, ...]:
    """The models with any value at all; a column that was found, not asked for, and is empty is no model."""
    observed = []
    for model in models:
        if any(Parsed(part.quality[model]).numeric for part in parts if model in part.quality):
            observed.append(model)
        else:
            holder = next(part for part in parts if model in part.quality)
            unused.append(not_used(holder.checker.table, model, "has no value in any row"))
    if models and not observed:
        raise DataError("models", "no row has any observed quality", "add quality in [0, 1] per model")
    return tuple(observed)
