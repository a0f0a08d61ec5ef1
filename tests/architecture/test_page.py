"""docs/architecture.md names every room and part there is, and none that there is not."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "python" / "tiny_dancer"
GATEWAY = PACKAGE / "gateway"
ENGINE = ROOT / "crates" / "tiny-dancer" / "src"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def parts(folder: Path, suffix: str = ".py") -> set[str]:
    """Folders and files of a folder that have sources, as the page writes them."""
    return {
        f"{path.name}/" if path.is_dir() else path.name
        for path in folder.iterdir()
        if (path.is_dir() and any(path.glob(f"*{suffix}")))
        or (path.suffix == suffix and path.name != "__init__.py")
    }


def rows(heading: str) -> list[tuple[set[str], set[str]]]:
    """What the two columns of a section's table name: each row's parts, and what is said to be within them."""
    section = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL)
    assert section, heading
    found = re.findall(r"^\| (`.*?) \| (.*) \|$", section[1], re.MULTILINE)
    assert found, f"no table under {heading}"
    first, second = (
        [set(re.findall(r"`([\w-]+(?:/|\.py|\.rs))`", row[column])) for row in found] for column in (0, 1)
    )
    return list(zip(first, second, strict=True))


def named(heading: str) -> set[str]:
    """What the first column of a section's table names."""
    return set().union(*(parts for parts, _ in rows(heading)))


def test_it_names_every_room_of_the_engine() -> None:
    assert named("The engine: `crates/tiny-dancer/src`") == parts(ENGINE, ".rs")


def test_it_names_every_room_of_the_package() -> None:
    assert named("The package: `python/tiny_dancer`") == parts(PACKAGE)


def test_it_names_every_part_of_the_gateway_and_what_is_in_it() -> None:
    assert named("One request through the gateway") == parts(GATEWAY)
    for folders, within in rows("One request through the gateway"):
        there: set[str] = set().union(*(parts(GATEWAY / each) for each in folders if each.endswith("/")))
        assert within == there, f"the row of {', '.join(sorted(folders))}"
