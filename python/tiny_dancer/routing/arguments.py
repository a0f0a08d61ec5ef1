"""Arguments as callers write them, and as the engine takes them: numbers, and changes to an artifact's models."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from tiny_dancer.errors import OptionError
from tiny_dancer.types import ModelInfo

_FIELDS = {
    "input_cost_per_token": "price_input",
    "output_cost_per_token": "price_output",
    "cost_per_request": "price_request",
    "expected_output_tokens": "expected_output_tokens",
    "context_window": "context_window",
    "name": "name",
}


def number(field: str, value: object) -> float | None:
    """A number as a float; None where there is none.

    Raises:
        OptionError: it is no number, or beyond any float.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise OptionError(field, repr(value), "give a number")
    try:
        return float(value)
    except OverflowError as error:
        raise OptionError(field, "an integer beyond any float", "give a finite number") from error


def model_changes(names: list[str], models: Mapping[str, str | ModelInfo]) -> str | None:
    """Changes to an artifact's models as the engine takes them: JSON, one object a model.

    None where nothing changes.

    Args:
        names: of the artifact's models, in the order of its columns.
        models: by these names, the model to call instead, or what is to change.

    Raises:
        OptionError: ``models`` names none of the artifact's, or a value cannot be what it stands for.
    """
    if not isinstance(models, Mapping):
        raise OptionError("models", type(models).__name__, "give {name: name to call, or ModelInfo}")
    unknown = [name for name in models if name not in names]
    if unknown:
        raise OptionError("models", unknown[0], f"the artifact's models are {', '.join(names)}")
    if not models:
        return None
    changes: list[dict[str, Any]] = []
    for name in names:
        asked = models.get(name, name)
        info = ModelInfo(name=asked) if isinstance(asked, str) else asked
        if not isinstance(info, ModelInfo):
            raise OptionError(f"models[{name!r}]", type(info).__name__, "give a name or a ModelInfo")
        given = {key: value for key, value in asdict(info).items() if value is not None}
        changes.append({_FIELDS[key]: _plain(f"models[{name!r}].{key}", value) for key, value in given.items()})
    return json.dumps(changes)


def _plain(field: str, value: object) -> str | int | float:
    """A name as it is, a number as Python's own: numpy's are no JSON."""
    if isinstance(value, str) and field.endswith(".name"):
        return value
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(value)
    found = number(field, value)
    if found is None or not math.isfinite(found):
        raise OptionError(field, value, "give a finite number")
    return found
