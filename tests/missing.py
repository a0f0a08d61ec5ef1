"""What a test says where a tool it needs is not on this machine."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(what: str) -> NoReturn:
    """Skips, saying what is needed. Where ``.ci/run`` has installed everything it fails: nothing skips unseen."""
    if os.environ.get("TINY_DANCER_NOTHING_SKIPS"):
        pytest.fail(f"needs {what}, and on this machine nothing may be missing")
    pytest.skip(f"needs {what}")
