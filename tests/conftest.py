"""Fixtures every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How fast a machine is says nothing about the code; a busy one must not fail a test.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real tables beside a developer's checkout; without it, tests that ask for it skip."""
    default = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("TINY_DANCER_SHARED", default)) / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the real tables in {folder} (set TINY_DANCER_SHARED to their parent)")
    return folder
