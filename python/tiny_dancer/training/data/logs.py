"""What other tools write: calls with their scores inside JSON (LiteLLM, Langfuse), and runs of OpenAI's evals."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tiny_dancer.training.data.columns import Checker

    Floats = npt.NDArray[np.float64]

# Names of scores, in tables and inside of JSON.
SCORES = ("score", "quality", "performance", "accuracy", "correct", "is_correct", "reward", "rating", "grade")
# LiteLLM puts what the caller sent as metadata into its own.
_INNER_METADATA = ("requester_metadata", "spend_logs_metadata")
EVENT_COLUMNS = frozenset({"spec", "run_id", "sample_id", "type", "data"})


def requests(texts: Sequence[str | None]) -> tuple[list[str | None], list[str | None]]:
    """Prompts and chat messages out of payloads: text, a JSON list of messages, or an object that has one."""
    prompts: list[str | None] = []
    messages: list[str | None] = []
    for text in texts:
        chat = _chat(_parsed(text))
        messages.append(None if chat is None else json.dumps(chat, ensure_ascii=False))
        prompts.append(text if chat is None else None)
    return prompts, messages


def nested_scores(checker: Checker, column: str) -> Floats:
    """The one score inside a column of JSON: Langfuse's ``scores``, LiteLLM's ``metadata``.

    Raises:
        DataError: several scores, none of them called a score.
    """
    found = [_named_scores(_parsed(text), every=column == "scores") for text in checker.nested_texts(column)]
    names = list(dict.fromkeys(name for scores in found for name in scores))
    chosen = next((name for name in SCORES if name in names), names[0] if names else "")
    if len(names) > 1 and chosen not in SCORES:
        shown = ", ".join(map(repr, names[:12]))
        raise DataError(column, f"scores {shown} in {checker.table.name}", "export one score, or call it 'score'")
    return np.array([scores.get(chosen, np.nan) for scores in found])


def seconds_between(checker: Checker, start: str, end: str) -> Floats:
    """Seconds from one column to the other: numbers in seconds, or ISO texts; NaN where either is none."""
    return np.array(
        [
            np.nan if first is None or last is None or last < first else last - first
            for first, last in zip(_moments(checker, start), _moments(checker, end), strict=True)
        ]
    )


def event_rows(checker: Checker) -> list[dict[str, Any]]:
    """The samples of runs of OpenAI's evals: model, sample_id, eval_name, prompt or messages, score.

    A run's first line says the model (``spec.completion_fns``); the first ``sampling`` event of a sample has what
    was asked, its ``match`` or ``metrics`` event what came of it.
    """
    table = checker.table
    texts = {
        name: checker.nested_texts(name) if name in table.columns else [None] * table.rows
        for name in EVENT_COLUMNS
    }
    specs: dict[str | None, dict[str, Any]] = {}
    for row, text in enumerate(texts["spec"]):
        spec = _parsed(text)
        if isinstance(spec, dict):
            if not spec.get("completion_fns"):
                raise checker.fault("spec", row, text, "a run names its model in completion_fns")
            specs[spec.get("run_id")] = spec
    samples: dict[tuple[str | None, str], dict[str, Any]] = {}
    for row, sample_id in enumerate(texts["sample_id"]):
        if sample_id is None:
            continue
        run = texts["run_id"][row]
        spec = specs.get(run) or (next(iter(specs.values())) if len(specs) == 1 else None)
        if spec is None:
            raise checker.fault("run_id", row, run, "no line of this file has the spec of this run")
        sample = samples.setdefault(
            (run, sample_id),
            {
                "model": str(spec["completion_fns"][0]),
                "sample_id": sample_id,
                "eval_name": spec.get("eval_name"),
                "request": None,
                "score": np.nan,
            },
        )
        data = _parsed(texts["data"][row])
        if not isinstance(data, dict):
            continue
        if texts["type"][row] == "sampling" and sample["request"] is None and data.get("prompt") is not None:
            asked = data["prompt"]
            sample["request"] = asked if isinstance(asked, str) else json.dumps(asked, ensure_ascii=False)
        elif texts["type"][row] in ("match", "metrics"):
            scores = _named_scores(data, every=False)
            sample["score"] = next(
                (scores[name] for name in ("correct", *SCORES) if name in scores), sample["score"]
            )
    return list(samples.values())


def _parsed(text: str | None) -> Any:
    """JSON objects and lists as such; any other text as it is."""
    if text is None or text.lstrip()[:1] not in ("{", "["):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _chat(value: Any) -> list[Any] | None:
    if isinstance(value, dict):
        return _chat(value.get("messages") or value.get("body"))
    if isinstance(value, list) and value and all(isinstance(each, dict) and "role" in each for each in value):
        return value
    return None


def _named_scores(value: Any, *, every: bool) -> dict[str, float]:
    """Scores by name: those that are called so, or ``every`` number there is."""
    if isinstance(value, list):
        pairs = [(each.get("name"), each.get("value")) for each in value if isinstance(each, dict)]
    elif isinstance(value, dict):
        pairs = list(value.items())
        if not every:
            inner = (value.get(name) for name in _INNER_METADATA)
            pairs += [pair for each in inner if isinstance(each, dict) for pair in each.items()]
    else:
        return {}
    found: dict[str, float] = {}
    for name, each in pairs:
        number = _number(each)
        if isinstance(name, str) and number is not None and (every or name in SCORES):
            found.setdefault(name, number)
    return found


def _number(value: Any) -> float | None:
    """A number, the mean of a list of them, or what an object has as its value."""
    if isinstance(value, dict):
        return _number(value.get("value"))
    if isinstance(value, list):
        numbers = [number for number in map(_number, value) if number is not None]
        return sum(numbers) / len(numbers) if numbers else None
    if isinstance(value, bool | int | float):
        return float(value)
    return None


def _moments(checker: Checker, name: str) -> list[float | None]:
    parsed = checker.numbers(name)
    if parsed is not None and not parsed.bad:
        return [None if np.isnan(value) else float(value) for value in parsed.values]
    moments: list[float | None] = []
    for row, text in enumerate(checker.texts(name)):
        try:
            moments.append(None if not text else datetime.fromisoformat(text).timestamp())
        except ValueError:
            raise checker.fault(name, row, text, "write seconds since 1970, or ISO 8601") from None
    return moments
