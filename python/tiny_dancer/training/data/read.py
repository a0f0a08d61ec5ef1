"""Outcomes tables to outcomes: one rule for every format, every refusal with its row and remedy."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tiny_dancer.errors import DataError
from tiny_dancer.training.data import arrow, featurised
from tiny_dancer.training.data.columns import Checker, Parsed, joined_prompt
from tiny_dancer.training.data.join import Part, joined
from tiny_dancer.training.data.raw import read_raw

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from tiny_dancer.training.data.raw import RawTable
    from tiny_dancer.types import FeatureTable, Outcomes

TEXT_COLUMNS = frozenset({"prompt", "tools", "messages"})
KNOWN_COLUMNS = TEXT_COLUMNS | {"sample_id", "eval_name", "weight", "group"}
# pandas' index columns, and RouterBench's choice of its oracle.
IGNORED_COLUMNS = frozenset({"", "Unnamed: 0", "__index_level_0__", "oracle_model_to_route_to"})
COST = "total_cost"
LATENCY = "latency_s"
RESPONSE = "|model_response"
NOT_A_MODEL = "or, if it is no model, leave it out by naming the models (--models m1,m2)"


class DataWarning(UserWarning):
    """A column of an outcomes table that was left unused; the message names it."""


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
    paths: Sequence[Path | str] | Path | str,
    *,
    models: Sequence[str] | None = None,
    require_quality: bool = True,
    featurise: Featurise | None = None,
    feature_spec: str | None = None,
) -> Outcomes:
    """Reads outcomes tables (Parquet, CSV, JSONL; CSV and JSONL also gzipped) and joins them row below row.

    Rows keep their order, file after file. A model that one file lacks is not observed in its rows.
    A missing ``sample_id`` column is numbered (``row-0``; ``<file stem>-0`` with several files); an id
    that occurs twice is refused, within a file and across. Equal ``group`` labels are one group, also
    across files; a row without one is a group of its own. A row of chat messages without a prompt has
    the prompt "". Quality may be null, NaN or empty: not observed.

    The models are the columns of numbers or booleans (in text too) that have no ``|`` and no known
    name. Left unused without a word: index columns, RouterBench's ``oracle_model_to_route_to`` and
    ``|model_response``; with a ``DataWarning``: other columns of text, lists or dates, costs of no
    model, and columns without any value. Text that is a number in some rows only is refused.
    In RouterBench's tables a prompt that is a list of strings is joined by line breaks.

    Args:
        paths: the files, or the one file.
        models: read these models only, in this order.
        require_quality: False reads only what predicting needs; no label, cost or weight is touched.
        featurise: makes the features of plain tables; without it plain and featurised do not join.
        feature_spec: refuse featurised tables made to any other specification.

    Raises:
        DataError: anything in a file that cannot be used, naming column, row, value and remedy.
    """
    if isinstance(paths, (str, Path)):
        paths = [paths]
    if not paths:
        raise DataError("table", "none given", "name at least one outcomes table")
    if models is not None and len(set(models)) < len(models):
        raise DataError("models", ", ".join(models), "name each model once")
    raws = [read_raw(path, lambda name: _wanted(name, models, require_quality)) for path in paths]
    checkers = [_named(raw, f"{raw.stem}-" if len(raws) > 1 else "row-") for raw in raws]
    _check_specs(raws, feature_spec, featurise)
    unused: list[str] = []
    chosen = _chosen_models(checkers, models, require_quality, unused)
    parts = [_part(checker, chosen, require_quality, featurise) for checker in checkers]
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
        return name in ("sample_id", "eval_name")
    if models is None or name in KNOWN_COLUMNS:
        return True
    model, bar, suffix = name.rpartition("|")
    return name in models or (bool(bar) and model in models and suffix in (COST, LATENCY))


def _chosen_models(
    checkers: Sequence[Checker], models: Sequence[str] | None, require_quality: bool, unused: list[str]
) -> tuple[str, ...]:
    """The models to read: those asked for, or every column that can be one; ``unused`` says why not."""
    if not require_quality:
        return ()
    candidates = dict.fromkeys(name for checker in checkers for name in checker.table.names if _may_be_model(name))
    if models is not None:
        for model in models:
            if model not in candidates:
                near = get_close_matches(model, candidates, 1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise DataError("models", f"unknown model {model!r}", f"{hint}known: {', '.join(candidates)}")
        return tuple(models)
    usable: dict[str, None] = {}
    for checker in checkers:
        raw = checker.table
        for name in raw.names:
            if "|" in name and not _is_usable_suffix(name, raw.names):
                unused.append(_reason(raw, name, "is no cost or latency of a model column"))
            elif _may_be_model(name) and _is_quality(checker, name, unused):
                usable[name] = None
    if not usable:
        raise DataError(
            "models",
            f"no model column in {checkers[0].table.name}: {', '.join(map(repr, candidates)) or 'none'}",
            "add one column of quality in [0, 1] per model, named after it",
        )
    return tuple(usable)


def _may_be_model(name: str) -> bool:
    return "|" not in name and name not in KNOWN_COLUMNS and name not in IGNORED_COLUMNS


def _is_usable_suffix(name: str, names: Iterable[str]) -> bool:
    model, _, suffix = name.rpartition("|")
    return (
        name in featurised.FEATURE_COLUMNS
        or name.endswith(RESPONSE)
        or (suffix in (COST, LATENCY) and model in names)
    )


def _is_quality(checker: Checker, name: str, unused: list[str]) -> bool:
    """Whether the column is a model's; text that is a number in some rows only is refused."""
    parsed = checker.numbers(name)
    if parsed is None or (parsed.bad and not parsed.numeric):
        unused.append(_reason(checker.table, name, "holds no numbers, so it is no model"))
        return False
    if parsed.bad:
        row, text = parsed.bad[0]
        raise checker.fault(name, row, text, f"write quality in [0, 1], {NOT_A_MODEL}")
    return True


def _reason(raw: RawTable, name: str, reason: str) -> str:
    return f"column {name!r} of {raw.name} is not used: it {reason}"


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


def _named(raw: RawTable, prefix: str) -> Checker:
    """A table that has rows and requests, with the rows' names."""
    has_requests = featurised.is_featurised(raw) or {"prompt", "messages"} & set(raw.names)
    if raw.names and not has_requests:
        shown = ", ".join(map(repr, raw.names[:12]))
        raise DataError("prompt", f"no such column in {raw.name}, which has {shown}", "add the prompts")
    if raw.rows == 0:
        raise DataError("table", f"{raw.name} has no rows", "add rows")
    return Checker(raw, _sample_ids(Checker(raw), prefix))


def _part(checker: Checker, models: Sequence[str], require_quality: bool, featurise: Featurise | None) -> Part:
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
    cost_remedy = "a cost is in USD and at least 0; leave it empty where unknown"
    latency_remedy = "a latency is in seconds and at least 0; leave it empty where unknown"
    return Part(
        checker=checker,
        task=tuple(name or "" for name in task),
        weight=weight,
        group=_groups(checker) if require_quality and "group" in columns else (None,) * raw.rows,
        quality={
            model: checker.bounded(model, 0.0, 1.0, f"scale quality to [0, 1], {NOT_A_MODEL}")
            for model in models
            if model in columns
        },
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
        model: checker.bounded(f"{model}|{suffix}", 0.0, np.inf, remedy)
        for model in models
        if f"{model}|{suffix}" in checker.table.columns
    }


@dataclass(frozen=True, slots=True)
class _Text:
    """The texts of one plain file."""

    prompt: tuple[str, ...] | None
    tools: tuple[str | None, ...] | None
    messages: tuple[str | None, ...] | None


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


def _groups(checker: Checker) -> tuple[int | str | None, ...]:
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
            unused.append(_reason(holder.checker.table, model, "has no value in any row"))
    if models and not observed:
        raise DataError("models", "no row has any observed quality", "add quality in [0, 1] per model")
    return tuple(observed)
