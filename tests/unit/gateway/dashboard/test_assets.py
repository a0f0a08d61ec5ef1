"""The files of the page: ours load nothing from elsewhere, others' are as their authors published them."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path

import pytest

from tiny_dancer.gateway.dashboard import app

STATIC = Path(app.__file__).parent / "static"
ROOT = Path(__file__).resolve().parents[4]
OWN = sorted(path for path in STATIC.iterdir() if path.is_file())
VERSION = (STATIC / "uplot" / "VERSION").read_text(encoding="utf-8")


def test_uplot_is_as_published() -> None:
    said = dict(re.findall(r"^([0-9a-f]{64})  (\S+)$", VERSION, re.MULTILINE)[::-1])
    files = {digest: name for digest, name in said.items() if not name.endswith(".tgz")}
    assert set(files.values()) == {path.name for path in (STATIC / "uplot").iterdir()} - {"VERSION"}
    for digest, name in files.items():
        assert hashlib.sha256((STATIC / "uplot" / name).read_bytes()).hexdigest() == digest, name


def test_it_is_named_in_notice() -> None:
    version = re.match(r"uPlot (\S+),", VERSION)
    assert version
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    assert f"uPlot {version[1]}" in notice
    assert version[1] in (STATIC / "uplot" / "uPlot.iife.min.js").read_text(encoding="utf-8")[:200]


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_nothing_is_loaded_from_elsewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|//\w+\.\w+/|@import|url\(", text)


@pytest.mark.parametrize("path", [path for path in OWN if path.suffix == ".js"], ids=lambda path: path.name)
def test_nothing_is_ever_read_as_markup(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function|DOMParser", text
    )
    assert not re.search(r"localStorage|sessionStorage|document\.cookie", text)


def test_every_file_is_served_or_a_page_of_its_own() -> None:
    served = {STATIC / name for name in app._ASSETS.values()}
    pages = {STATIC / "index.html", STATIC / "login.html"}
    beside = {STATIC / "uplot" / "LICENSE", STATIC / "uplot" / "VERSION"}
    assert {path for path in STATIC.rglob("*") if path.is_file()} == served | pages | beside


def test_the_wheel_has_them() -> None:
    """maturin packs every file of ``python-source`` that git does not ignore and nothing excludes."""
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'python-source = "python"' in settings
    assert "exclude" not in settings.partition("[tool.maturin]")[2].partition("\n[")[0]
    files = [str(path) for path in STATIC.rglob("*") if path.is_file()]
    ignored = subprocess.run(["git", "check-ignore", *files], cwd=ROOT, capture_output=True, text=True)
    if ignored.returncode == 128:
        pytest.skip("this is no clone: nothing says what git ignores")
    assert ignored.stdout == ""
