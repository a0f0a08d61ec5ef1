"""What a user may import from the package root."""

from __future__ import annotations

import inspect
import subprocess
import sys
from types import ModuleType

import pytest

import tiny_dancer

NOT_OURS = {"Any", "TYPE_CHECKING", "annotations", "import_module"}


def order(name: str) -> tuple[int, str]:
    """Constants, classes, then the rest, each by name: the order ruff keeps (RUF022)."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def test_the_list_is_sorted_and_without_repeats() -> None:
    assert tiny_dancer.__all__ == sorted(set(tiny_dancer.__all__), key=order)


def test_the_list_is_complete() -> None:
    public = {
        name
        for name, value in vars(tiny_dancer).items()
        if not name.startswith("_") and not isinstance(value, ModuleType) and name not in NOT_OURS
    }
    assert public <= set(tiny_dancer.__all__)


def test_every_error_is_public() -> None:
    errors = {
        name
        for name, value in vars(tiny_dancer.errors).items()
        if isinstance(value, type) and issubclass(value, tiny_dancer.errors.TinyDancerError)
    }
    assert errors <= set(tiny_dancer.__all__)


@pytest.mark.parametrize("name", tiny_dancer.__all__)
def test_every_name_can_be_imported_and_says_what_it_is(name: str) -> None:
    value = getattr(tiny_dancer, name)
    if inspect.isclass(value) or inspect.isroutine(value):
        # A dataclass without a docstring is given its signature as one.
        assert value.__doc__ and not value.__doc__.startswith(f"{name}("), f"{name} has no docstring"


def test_routing_does_not_load_what_only_training_and_reports_need() -> None:
    """How long the import takes is for benchmarks/micro/bench_import.py: a timed test would be flaky."""
    code = "import sys, tiny_dancer; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {"joblib", "matplotlib", "pandas", "pyarrow", "rich", "scipy", "sklearn", "typer", "yaml"}
    assert not heavy & set(loaded)
