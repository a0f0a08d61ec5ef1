"""Tables of one row a request and model, and logs, to tables of one row a request.

A table is long where it has a column of models, one of scores, and one of requests; each is known by its name, as
people and tools write it: ``prompt, model, score, cost``; LLMRouter's ``query, model_name, performance``;
RouterArena's ``prompt, prediction, accuracy``; LiteLLM's logs; Langfuse's exports; runs of OpenAI's evals.

Requests are the same where their ``sample_id`` is, or, without one, where prompt, messages and tools are. Scores,
costs and latencies of the same request and model are averaged, and a warning says how many; calls without a score
(failed ones, say) do not count beside one that has one.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer.errors import DataError
from tiny_dancer.evaluation.groups import joined_groups
from tiny_dancer.training.data import arrow, logs
from tiny_dancer.training.data.columns import COST, IGNORED_COLUMNS, KNOWN_COLUMNS, LATENCY, MOST, Checker
from tiny_dancer.training.data.raw import DataWarning, RawTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tiny_dancer.training.data.arrow import Column

    Floats = npt.NDArray[np.float64]

_MODELS = ("model", "model_name", "llm", "llm_name", "provided_model_name", "providedModelName")
_PROMPTS = ("prompt", "query", "question", "instruction")
_PAYLOADS = ("messages", "input", "proxy_server_request")
_IDS = ("sample_id", "global index", "global_index", "prompt_id", "query_id", "question_id")
_TASKS = ("eval_name", "task_name", "task", "dataset")
_COSTS = (
    "cost",
    "total_cost",
    "cost_usd",
    "total_cost_usd",
    "response_cost",
    "spend",
    "totalCost",
    "calculated_total_cost",
    "calculatedTotalCost",
)
_LATENCIES = {
    "latency_s": 1.0,
    "latency": 1.0,
    "latency_seconds": 1.0,
    "response_time": 1.0,
    "latency_ms": 1e-3,
    "response_time_ms": 1e-3,
    "request_duration_ms": 1e-3,
}
_SPANS = (("startTime", "endTime"), ("start_time", "end_time"))
_ARENA_MODEL = "prediction"
_OWN = ("tools", "type")
REQUEST_COLUMNS = frozenset(
    (*_MODELS, _ARENA_MODEL, *_PROMPTS, *_PAYLOADS, *_IDS, *_TASKS, *_OWN, *logs.EVENT_COLUMNS)
)
LABEL_COLUMNS = frozenset(
    (
        *logs.SCORES,
        "scores",
        "metadata",
        "group",
        "weight",
        *_COSTS,
        *_LATENCIES,
        *(name for span in _SPANS for name in span),
    )
)


@dataclass(frozen=True, slots=True)
class _Calls:
    """Rows of one long file: text columns, and numbers that are NaN where unknown."""

    file: str
    texts: dict[str, list[str | None]]
    score: Floats
    cost: Floats
    latency: Floats
    weight: Floats | None


def is_long(names: Sequence[str]) -> bool:
    """Whether a table of these columns has one row a request and model, or is a log of runs."""
    if {"spec", "data", "sample_id"} <= set(names):
        return True
    if any("|" in name for name in names) or _model_column(names) is None:
        return False
    has_score = any(name in names for name in (*logs.SCORES, "scores", "metadata"))
    return has_score and any(name in names for name in (*_PROMPTS, *_PAYLOADS))


def lacks_scores(names: Sequence[str]) -> bool:
    """Whether a table would be long, had it scores."""
    return _model_column(names) is not None and not is_long(names)


def widened(raws: Sequence[RawTable], *, require_quality: bool) -> list[RawTable]:
    """The tables, but the long ones pivoted into one, which stands where the first of them was.

    Raises:
        DataError: a row without model or score that is none, a request of two texts, a name no model can have.
    """
    long = [raw for raw in raws if is_long(raw.names)]
    if not long:
        return list(raws)
    calls = [_calls(Checker(raw), require_quality) for raw in long]
    wide = _pivoted(calls, require_quality)
    return [wide if raw is long[0] else raw for raw in raws if raw is long[0] or raw not in long]


def _model_column(names: Sequence[str]) -> str | None:
    if _ARENA_MODEL in names and {"global index", "global_index"}.intersection(names):
        return _ARENA_MODEL
    return _first(_MODELS, names)


def _first(wanted: Sequence[str], names: Sequence[str]) -> str | None:
    return next((name for name in wanted if name in names), None)


def _calls(checker: Checker, require_quality: bool) -> _Calls:
    raw = checker.table
    if raw.rows == 0:
        raise DataError("table", f"{raw.name} has no rows", "add rows")
    if "spec" in raw.names and "data" in raw.names:
        return _runs(checker)
    checker = _generations(checker)
    raw = checker.table
    nothing = np.full(raw.rows, np.nan)
    score = cost = latency = nothing
    if require_quality:
        score = _scores(checker)
        cost_column = _first(_COSTS, raw.names)
        if cost_column is not None:
            cost = checker.bounded(cost_column, 0.0, MOST, f"a cost is in USD, from 0 to {MOST:g}")
        latency = _latencies(checker)
    return _Calls(raw.name, _texts(checker), score, cost, latency, _weights(checker, require_quality))


def _generations(checker: Checker) -> Checker:
    """Langfuse exports every step of a trace; those that called a model are kept."""
    raw = checker.table
    if "type" not in raw.columns or not arrow.is_text(raw.columns["type"]):
        return checker
    kinds = np.array([text == "GENERATION" for text in checker.texts("type")])
    if not kinds.any() or kinds.all():
        return checker
    kept = np.flatnonzero(kinds)
    columns = {name: arrow.chosen_rows(column, kept) for name, column in raw.columns.items()}
    return Checker(replace(raw, columns=columns, rows=len(kept)))


def _runs(checker: Checker) -> _Calls:
    name = checker.table.name
    rows = logs.event_rows(checker)
    asked = [row for row in rows if row["request"] is not None]
    if not asked:
        raise DataError("data", f"no sampling event of {name} has a prompt", "record the run with its prompts")
    if len(asked) < len(rows):
        left = len(rows) - len(asked)
        _warn(f"{left} samples of {name} have no sampling event and were left out")
    prompts, messages = logs.requests([row["request"] for row in asked])
    nothing = np.full(len(asked), np.nan)
    texts = {key: [row[key] for row in asked] for key in ("model", "sample_id", "eval_name")}
    score = np.array([row["score"] for row in asked])
    return _Calls(name, {**texts, "prompt": prompts, "messages": messages}, score, nothing, nothing, None)


def request_texts(
    checker: Checker,
) -> tuple[list[str | None], list[str | None], list[str | None]]:
    """Prompt, messages and tools of each row of a long table, nothing checked but the tools."""
    raw = checker.table
    nothing: list[str | None] = [None] * raw.rows
    prompt_column = _first(_PROMPTS, raw.names)
    prompts = nothing if prompt_column is None else checker.texts(prompt_column)
    messages = nothing
    for name in _PAYLOADS:
        if name in raw.columns:
            texts, chats = logs.requests(checker.nested_texts(name))
            messages = _filled(messages, chats)
            if name != "proxy_server_request":
                prompts = _filled(prompts, texts)
    return prompts, messages, checker.json_texts("tools") if "tools" in raw.columns else nothing


def _texts(checker: Checker) -> dict[str, list[str | None]]:
    """What says which request and model a row is of."""
    raw = checker.table
    model_column = _model_column(raw.names)
    assert model_column is not None
    models = checker.texts(model_column)
    for row, model in enumerate(models):
        if model is None or not model.strip():
            raise checker.fault(model_column, row, model, "name the model of every row")
    found = {"model": [model and model.strip() for model in models]}
    for own, texts in zip(("prompt", "messages", "tools"), request_texts(checker), strict=True):
        if any(text is not None for text in texts) or own == "prompt":
            found[own] = texts
    if "group" in raw.columns:
        found["group"] = checker.texts("group")
    for own, names in (("eval_name", _TASKS), ("sample_id", _IDS)):
        column = _first(names, raw.names)
        if column is not None:
            found[own] = checker.texts(column)
    return found


def _filled(texts: list[str | None], more: list[str | None]) -> list[str | None]:
    return [one or other for one, other in zip(texts, more, strict=True)]


def _scores(checker: Checker) -> Floats:
    raw = checker.table
    found = [name for name in logs.SCORES if name in raw.names]
    if len(found) > 1:
        shown = ", ".join(map(repr, found))
        raise DataError("score", f"columns {shown} of {raw.name} may all be the score", "drop all but one")
    if found:
        parsed = checker.numbers(found[0])
        if parsed is None:
            kind = arrow.type_name(raw.columns[found[0]])
            raise DataError(found[0], f"type {kind} in {raw.name}", "make it a column of numbers")
        if parsed.bad:
            raise checker.fault(found[0], *parsed.bad[0], "write the score as a number")
        return parsed.values
    for name in ("scores", "metadata"):
        if name in raw.columns:
            scores = logs.nested_scores(checker, name)
            if not np.isnan(scores).all():
                return scores
    shown = ", ".join(logs.SCORES)
    raise DataError("score", f"no row of {raw.name} has one", f"add a column of scores, called one of {shown}")


def _latencies(checker: Checker) -> Floats:
    raw = checker.table
    column = _first(tuple(_LATENCIES), raw.names)
    if column is not None:
        remedy = "a latency is at least 0; leave it empty where unknown"
        return checker.bounded(column, 0.0, MOST / _LATENCIES[column], remedy) * _LATENCIES[column]
    for start, end in _SPANS:
        if start in raw.columns and end in raw.columns:
            return logs.seconds_between(checker, start, end)
    return np.full(raw.rows, np.nan)


def _weights(checker: Checker, require_quality: bool) -> Floats | None:
    if not require_quality or "weight" not in checker.table.columns:
        return None
    return checker.bounded("weight", 0.0, np.inf, "a weight is a positive, finite number")


def _pivoted(calls: Sequence[_Calls], require_quality: bool) -> RawTable:
    """One row a request, in order of first appearance."""
    name = calls[0].file if len(calls) == 1 else f"{calls[0].file} and {len(calls) - 1} more"
    texts = {
        column: arrow.from_texts(
            [text for part in calls for text in part.texts.get(column) or [None] * len(part.score)]
        )
        for column in ("model", "sample_id", "eval_name", "group", "prompt", "messages", "tools")
        if any(column in part.texts for part in calls)
    }
    request, first = _requests(texts, name)
    _settle(texts, request, first, name)
    named = texts.pop("model")
    model, at = arrow.numbered([named])
    models = [str(each) for each in arrow.as_python(arrow.chosen_rows(named, at))]
    for each in models:
        if "|" in each or each in KNOWN_COLUMNS or each in IGNORED_COLUMNS:
            raise DataError(
                "model", f"{each!r} in {name}", "rename the model: a table's column cannot have this name"
            )
    cell = request * len(models) + model
    scored = ~np.isnan(np.concatenate([part.score for part in calls]))
    again = int(scored.sum()) - len(np.unique(cell[scored]))
    # A call without a score may have failed: what it cost is no part of what an answer costs.
    counted = scored | ~np.isin(cell, cell[scored])
    if again and require_quality:
        _warn(f"{again} rows of {name} score a request and model once more: the scores were averaged")
    columns: dict[str, Column] = {column: arrow.chosen_rows(values, first) for column, values in texts.items()}
    weights = [part.weight if part.weight is not None else np.ones(len(part.score)) for part in calls]
    if any(part.weight is not None for part in calls):
        weight = np.concatenate(weights)
        different = np.unique(request[weight != weight[first][request]])
        if len(different):
            shown = _shown(texts, int(first[different[0]]))
            raise DataError("weight", f"{shown} of {name} has two", "give all rows of a request the same weight")
        columns["weight"] = arrow.numbers(weight[first])
    shape = (len(first), len(models))
    for suffix, parts in (
        ("", [part.score for part in calls]),
        (f"|{COST}", [part.cost for part in calls]),
        (f"|{LATENCY}", [part.latency for part in calls]),
    ):
        means = _means(cell, np.where(counted, np.concatenate(parts), np.nan), shape)
        for place, each in enumerate(models):
            if not suffix or not np.isnan(means[:, place]).all():
                columns[f"{each}{suffix}"] = arrow.numbers(means[:, place])
    return RawTable(name, "row", tuple(columns), columns, len(first), {}, models=tuple(models))


def _requests(texts: dict[str, Column], name: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The number of each row's request, and the first row of each; texts of one request must agree."""
    content = [column for key, column in texts.items() if key in ("prompt", "messages", "tools")]
    request, first = arrow.numbered(content)
    ids = texts.get("sample_id")
    if ids is None:
        return request, first
    named, first_named = arrow.numbered([ids])
    if len(first_named) == len(named) and len(first) < len(named):
        _warn(f"every row of {name} has an id of its own: requests were told apart by their text")
        del texts["sample_id"]
        return request, first
    for key, column in texts.items():
        if key in ("model", "sample_id"):
            continue
        codes = arrow.numbered([column])[0]
        other = np.flatnonzero(codes != codes[first_named][named])
        if len(other):
            who = arrow.as_python(ids)[int(other[0])]
            raise DataError(key, f"{who!r} of {name} has two", "give each request a sample_id of its own")
    return named, first_named


def _settle(
    texts: dict[str, Column], request: npt.NDArray[np.int64], first: npt.NDArray[np.int64], name: str
) -> None:
    """Joins the groups of a request that is in several; of several tasks the first counts. Both are said."""
    for key, what in (("group", "groups, which were joined"), ("eval_name", "tasks, of which the first counts")):
        if key not in texts:
            continue
        label, at = arrow.numbered([texts[key]])
        several = np.unique(request[label != label[first][request]])
        if not len(several):
            continue
        shown = _shown(texts, int(first[several[0]]))
        count = "1 request" if len(several) == 1 else f"{len(several)} requests"
        _warn(f"{count} of {name} ({shown}, say) in several {what}")
        if key == "group":
            known = np.array([bool(each and each.strip()) for each in arrow.as_python(texts[key])])
            # Rows without a group are alone with their request.
            own = np.where(known, label, len(at) + request)
            joined = joined_groups(own, request)
            texts[key] = arrow.from_texts([f"joined {number}" for number in joined])


def _shown(texts: dict[str, Column], row: int) -> str:
    """A request as an example."""
    for key in ("sample_id", "prompt", "messages"):
        if key in texts:
            text = arrow.as_python(arrow.chosen_rows(texts[key], np.array([row])))[0]
            if text:
                return repr(text if len(text) <= 60 else f"{text[:60]}…")
    return f"row {row}"


def _means(cell: npt.NDArray[np.int64], values: Floats, shape: tuple[int, int]) -> Floats:
    """The mean of each cell's values, NaN where there are none."""
    known = ~np.isnan(values)
    counts = np.bincount(cell[known], minlength=shape[0] * shape[1])
    sums = np.bincount(cell[known], weights=values[known], minlength=shape[0] * shape[1])
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(counts > 0, sums / counts, np.nan).reshape(shape), np.float64)


def _warn(message: str) -> None:
    warnings.warn(DataWarning(message), stacklevel=2)
