"""Fixtures every test may use."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A machine with other work is slow: no test fails for how long something takes.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")
# A process that reads lines may leave a terminal's size here; what has none prints as wide as it likes.
os.environ.pop("COLUMNS", None)

_COMPILED = "JAX_COMPILATION_CACHE_DIR"


def pytest_configure(config: pytest.Config) -> None:
    """What JAX has compiled for one test, all others read, in any process: training is mostly compiling here."""
    if not hasattr(config, "workerinput") and _COMPILED not in os.environ:
        os.environ[_COMPILED] = tempfile.mkdtemp(prefix="tdjax")
        config.add_cleanup(lambda: shutil.rmtree(os.environ.pop(_COMPILED), ignore_errors=True))
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real tables beside a developer's checkout; without it, tests that ask for it skip."""
    default = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("TINY_DANCER_SHARED", default)) / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the real tables in {folder} (set TINY_DANCER_SHARED to their parent)")
    return folder
