"""One version: Cargo.toml states it, the engine carries it, everything else asks one of the two."""

from __future__ import annotations

import json
import re
import tomllib
from importlib import metadata
from pathlib import Path

import tiny_dancer

ROOT = Path(__file__).resolve().parents[2]


def toml(path: str) -> dict[str, object]:
    return tomllib.loads((ROOT / path).read_text(encoding="utf-8"))


def members() -> list[str]:
    """The folders of the crates of the workspace."""
    found: list[str] = toml("Cargo.toml")["workspace"]["members"]  # type: ignore[index]
    return found


def stated() -> str:
    """The version that is written down by hand."""
    found = re.search(r'^version = "(.+)"$', (ROOT / "Cargo.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert found, "Cargo.toml: [workspace.package] states no version"
    return found[1]


def test_crates_and_package_take_it_from_the_workspace() -> None:
    for folder in members():
        manifest = toml(f"{folder}/Cargo.toml")
        assert manifest["package"]["version"] == {"workspace": True}, folder  # type: ignore[index]
    project = toml("pyproject.toml")["project"]
    assert project["dynamic"] == ["version"] and "version" not in project  # type: ignore[index,operator]


def test_the_lock_file_follows() -> None:
    locked = toml("Cargo.lock")["package"]
    ours = {each["name"]: each["version"] for each in locked if "source" not in each}  # type: ignore[attr-defined]
    crates = [Path(folder).name for folder in members()]
    assert ours == dict.fromkeys(crates, stated()), "run cargo update --workspace"


def test_the_package_for_javascript_says_the_same() -> None:
    package = json.loads((ROOT / "crates/tiny-dancer-wasm/js/package.json").read_text(encoding="utf-8"))
    assert package["version"] == stated(), "write the workspace's version"


def test_the_engine_carries_it() -> None:
    assert tiny_dancer.__version__ == stated(), "the extension is of another version; make builds it anew"


def test_the_installed_package_says_the_same() -> None:
    assert metadata.version("tiny-dancer") == stated(), "another version is installed; make installs this one"


def test_no_other_file_states_it() -> None:
    """A second one would be forgotten at the next release."""
    literal = re.compile(rf"""version\w*\s*=\s*["']{re.escape(stated())}["']""", re.IGNORECASE)
    found = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "python").rglob("*.py"))
        if literal.search(path.read_text(encoding="utf-8"))
    ]
    assert not found, f"take it from tiny_dancer._core: {found}"


def test_the_newest_release_in_the_changelog_is_not_newer() -> None:
    """A release is named there before it is made; nothing is released that Cargo.toml does not state."""
    headings = re.findall(r"^## \[(\d[^]]*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert not headings or headings[0] == stated(), f"CHANGELOG.md: {headings[0]}, Cargo.toml: {stated()}"
