"""Fixtures every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A machine with other work is slow: no test fails for how long something takes.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")
# A process that reads lines may leave a terminal's size here; what has none prints as wide as it likes.
os.environ.pop("COLUMNS", None)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real tables beside a developer's checkout; without it, tests that ask for it skip."""
    default = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("TINY_DANCER_SHARED", default)) / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the real tables in {folder} (set TINY_DANCER_SHARED to their parent)")
    return folder
