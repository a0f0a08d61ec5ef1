"""docs/architecture.md names every room of the package, and every part of the gateway."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "python" / "tiny_dancer"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def parts(folder: Path) -> set[str]:
    """Packages and modules of a folder, as the page writes them."""
    return {
        f"{path.name}/" if path.is_dir() else path.name
        for path in folder.iterdir()
        if (path.is_dir() and any(path.glob("*.py"))) or (path.suffix == ".py" and path.name != "__init__.py")
    }


def named(heading: str) -> set[str]:
    """What the first column of the tables of a section names."""
    section = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL)
    assert section, heading
    rows = re.findall(r"^\| (`.*?) \|", section[1], re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([\w/]+(?:\.py)?)`", row)}


def test_it_names_every_room() -> None:
    assert named("The package: `python/tiny_dancer`") == parts(PACKAGE), (
        "docs/architecture.md: the table of the package"
    )


def test_it_names_every_part_of_the_gateway() -> None:
    assert named("One request through the gateway") == parts(PACKAGE / "gateway"), (
        "docs/architecture.md: the table of the gateway"
    )
