"""Every kind of engine error becomes one exception of the tree, and none falls through to a catch-all."""

from __future__ import annotations

import re
from pathlib import Path

from tiny_dancer import errors

CRATES = Path(__file__).resolve().parents[2] / "crates"
KINDS = CRATES / "tiny-dancer" / "src" / "error.rs"
MAPPING = CRATES / "tiny-dancer-py" / "src" / "convert.rs"


def block(source: str, opening: str) -> str:
    """The lines from ``opening`` to the brace that closes it, which is indented as its line is."""
    found = re.search(rf"^( *){re.escape(opening)}$.*?^\1}}", source, re.MULTILINE | re.DOTALL)
    assert found, f"{opening}: not found"
    return found.group()


def kinds() -> set[str]:
    declared = block(KINDS.read_text(encoding="utf-8"), "pub enum ErrorKind {")
    return set(re.findall(r"^    ([A-Z]\w+),$", declared, re.MULTILINE))


def test_every_kind_maps_to_an_exception() -> None:
    arms = block(MAPPING.read_text(encoding="utf-8"), "let class = match error.kind {")
    mapped = dict(re.findall(r'ErrorKind::(\w+) => "(\w+)"', arms))
    assert len(kinds()) >= 8
    assert set(mapped) == kinds()
    assert "_ =>" not in arms
    for kind, name in mapped.items():
        assert issubclass(getattr(errors, name), errors.TinyDancerError), f"{kind} maps to {name}"
    assert len(set(mapped.values())) == len(mapped), "two kinds share an exception"


def test_the_tree_in_the_docstring_names_every_error() -> None:
    classes = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert classes == set(re.findall(r"\b\w+Error\b", errors.__doc__ or ""))
