"""A source file longer than 400 lines needs a reason, given here."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 400
SOURCES = ("benchmarks", "conformance", "crates", "python", "recipes", "tests", "tools")
REASONS = {
    "crates/tiny-dancer/src/encoder.rs": "loading with its checks, and the walk from text to sums, in one place",
    "crates/tiny-dancer/src/encoder/tests.rs": "the readable references the fast encoder is compared with",
    "crates/tiny-dancer/src/select.rs": "constraints, guard, tie rule and reasons are read as one sequence",
    "crates/tiny-dancer/tests/loading.rs": "one list: every way to spoil a file, and the error it must give",
    "crates/tiny-dancer/tests/support/ranking.rs": "inputs from bytes, and all that must hold of the answer",
    "crates/tiny-dancer/src/cues.rs": "one list: the name of every cue, and its formula in the same order",
}


def long_files() -> dict[str, int]:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_bytes().splitlines())
        for folder in SOURCES
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".pyi", ".rs"} and "target" not in path.parts
    }
    assert len(lengths) > 50, "is this test looking in the right place?"
    return {name: length for name, length in lengths.items() if length > LONGEST}


def test_long_files_have_a_reason() -> None:
    unexplained = {name: length for name, length in long_files().items() if name not in REASONS}
    assert not unexplained, f"split these, or give a reason in REASONS: {unexplained}"


def test_no_reason_outlives_its_file() -> None:
    assert not set(REASONS) - set(long_files()), "these are short now, or gone: remove their reasons"
