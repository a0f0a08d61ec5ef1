"""The WebAssembly module answers every shared vector as the engine on this machine does, byte for byte.

Both are built here. Without node or the compiler's target the tests skip, and say what is missing.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.integration.doors import ROOT, count, needs, replayed, run
from tests.missing import missing

GLUE = ROOT / "crates" / "tiny-dancer-wasm" / "js"
TARGET = "wasm32-unknown-unknown"


@pytest.fixture(scope="module")
def module() -> Path:
    """The module, built."""
    needs("node", "cargo", "rustc", "make")
    if not Path(run("rustc", "--print", "target-libdir", "--target", TARGET).strip()).is_dir():
        missing(f"the target: rustup target add {TARGET}")
    run("make", "--silent", "wasm")
    return GLUE / "tiny-dancer.wasm"


def test_every_vector_has_the_answer_of_the_engine(module: Path, tmp_path: Path) -> None:
    assert replayed(["node", str(GLUE / "replay.js"), str(module)], tmp_path) == count()


def test_the_package_for_javascript(module: Path) -> None:
    run("node", "--test", str(GLUE / "index.test.js"), TINY_DANCER_WASM=str(module))
