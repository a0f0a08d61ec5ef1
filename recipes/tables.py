"""The real tables the recipes read: not in the repository; their sources and licences are in NOTICE."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tiny_dancer import Outcomes, read_outcomes
from tiny_dancer.evaluation.groups import assign_groups
from tiny_dancer.evaluation.split import grouped_folds

SHARED = Path(os.environ.get("TINY_DANCER_SHARED", Path(__file__).parents[2] / "shared")) / "data"

NOT_SHIPPED = re.compile("BY-SA|nknown|GPT-4")
"""Licences of prompts that nothing shipped may be trained on."""

PAIR = ("mixtral-8x7b-instruct-v0.1", "gpt-4-1106-preview")

ROLES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "mmlu": ((PAIR[0],), (PAIR[1],)),
    "gsm8k": ((PAIR[0],), (PAIR[1],)),
    "llmrouter": (
        ("mistral-7b-instruct-v0.3", "llama-3.1-8b-instruct", "gemma-2-9b-it"),
        ("llama-3.1-nemotron-51b-instruct", "llama-3.3-nemotron-super-49b-v1"),
    ),
    "bfcl": (
        ("claude-3-haiku-20240307", "gpt-3.5-turbo-0125", "open-mixtral-8x7b", "mistral-small-2402"),
        ("gpt-4-1106-preview", "claude-3-5-sonnet-20240620", "gemini-1.5-pro-preview-0514"),
    ),
}
"""Per table, the models that play the weak and the strong role. Of llmrouter those are left out whose zeros are
failures to extract an answer (both chatqa, qwen2.5-7b) and the code-only codegemma."""


def table(name: str) -> Outcomes:
    """A table as it is, featurised, rows that belong together grouped."""
    outcomes = read_outcomes(SHARED / f"{name}.parquet")
    assert outcomes.features is not None
    return with_(outcomes, group=assign_groups(outcomes.features, outcomes.group))


def with_(outcomes: Outcomes, **changes: object) -> Outcomes:
    """The outcomes with some fields replaced."""
    from dataclasses import replace

    return replace(outcomes, **changes)  # type: ignore[arg-type]


def roles(name: str) -> Outcomes:
    """A table with two columns, weak and strong: the mean over the models that play each role."""
    outcomes = table(name)
    columns = [
        np.nanmean(outcomes.quality[:, [outcomes.models.index(model) for model in models]], axis=1)
        for models in ROLES[name]
    ]
    return with_(outcomes, models=("weak", "strong"), quality=np.stack(columns, axis=1), cost=None, latency=None)


def joined(parts: list[Outcomes]) -> Outcomes:
    """Tables with the same models, row below row; rows of different tables that are kin are one group."""
    from tiny_dancer.training.data.featurised import joined_features

    features = joined_features(
        [part.features for part in parts if part.features], [str(i) for i in range(len(parts))]
    )
    groups: list[npt.NDArray[np.int64]] = []
    start = 0
    for part in parts:
        _, inverse = np.unique(part.group, return_inverse=True)
        groups.append(inverse + start)
        start += int(inverse.max()) + 1
    return Outcomes(
        sample_id=tuple(i for part in parts for i in part.sample_id),
        task=tuple(i for part in parts for i in part.task),
        models=parts[0].models,
        quality=np.concatenate([part.quality for part in parts]),
        cost=None,
        latency=None,
        weight=np.concatenate([part.weight for part in parts]),
        group=assign_groups(features, np.concatenate(groups)),
        features=features,
    )


KINDS: dict[str, tuple[str, ...]] = {
    "exam questions": ("mmlu", "llmrouter:mmlu", "llmrouter:gpqa"),
    "word problems": ("gsm8k", "llmrouter:gsm8k", "llmrouter:agentverse-mgsm"),
    "mathematics": ("llmrouter:math",),
    "code": ("llmrouter:mbpp", "llmrouter:human_eval"),
    "tool calls": ("bfcl",),
    "common sense, school science": (
        "llmrouter:arc_challenge",
        "llmrouter:openbook_qa",
        "llmrouter:commonsense_qa",
    ),
    "facts": ("llmrouter:natural_qa", "llmrouter:trivia_qa"),
    "logic puzzles": ("llmrouter:agentverse-logicgrid",),
    "sentences from given words": ("llmrouter:commongen",),
}
"""Tables of one kind of request; of a table with several tasks, by task. One is left out whole."""


def by_role() -> dict[str, Outcomes]:
    """Every table of :data:`KINDS` with its two roles, the tasks of llmrouter being tables of their own."""
    found = {}
    for name in ROLES:
        whole = roles(name)
        if name != "llmrouter":
            found[name] = whole
            continue
        task = np.array(whole.task)
        found |= {f"{name}:{each}": whole.rows(np.flatnonzero(task == each)) for each in np.unique(task)}
    return found


def ranked_roles(name: str) -> Outcomes:
    """A table with two columns: means over the third of its models that scores least, and over the best third."""
    outcomes = table(name)
    order = np.argsort(np.nanmean(outcomes.quality, axis=0))
    third = max(1, len(order) // 3)
    columns = [np.nanmean(outcomes.quality[:, each], axis=1) for each in (order[:third], order[-third:])]
    return with_(outcomes, models=("weak", "strong"), quality=np.stack(columns, axis=1), cost=None, latency=None)


def split(outcomes: Outcomes, folds: int, seed: int) -> tuple[Outcomes, Outcomes]:
    """All but one of ``folds`` parts, and that part; groups stay whole."""
    fold = grouped_folds(outcomes.group, folds, seed)
    return outcomes.rows(np.flatnonzero(fold != 0)), outcomes.rows(np.flatnonzero(fold == 0))
