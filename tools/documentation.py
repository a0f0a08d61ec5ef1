"""Hooks of MkDocs: README.md becomes the first page, links to files outside docs/ lead to the repository, and the
demo gets the module and the artifact it runs.

A link to a file that does not exist is a warning, which `make docs` takes for an error.
"""

from __future__ import annotations

import logging
import posixpath
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from re import Match

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(?<=\]\()(?!https?:|#|mailto:)([^)\s#]+)(#[^)\s]*)?(?=\))")

HOME = "docs/index.md"
"""The first page, which is made of README.md."""

_GLUE = ROOT / "crates" / "tiny-dancer-wasm" / "js"
DEMO = (
    _GLUE / "index.js",
    _GLUE / "given.js",
    _GLUE / "instance.js",
    _GLUE / "tiny-dancer-edge.wasm",
    _GLUE / "tiny-dancer-edge-scalar.wasm",
    ROOT / "python" / "tiny_dancer" / "data" / "edge.safetensors",
)
"""What docs/demo needs beside it."""

log = logging.getLogger("mkdocs.hooks.documentation")


def linked(markdown: str, source: str, repository: str) -> str:
    """Text of a page of the site, from that of a file.

    Args:
        markdown: the file's text.
        source: the file, from the root of the repository: ``README.md``, ``docs/guides/storage.md``.
        repository: where files outside docs/ are shown.
    """

    def one(found: Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), found[1]))
        if target == HOME:
            return found[0]
        place = ROOT / target
        if not place.exists():
            log.warning("%s: links to %s, which does not exist", source, target)
        if target.startswith("docs/") and place.is_file():
            return posixpath.relpath(target, posixpath.dirname(source) or ".").removeprefix("docs/") + (
                found[2] or ""
            )
        kind = "tree" if place.is_dir() else "blob"
        return f"{repository}/{kind}/main/{target}{found[2] or ''}"

    return LINK.sub(one, markdown)


def on_files(files: Any, config: Any) -> Any:
    """Puts README.md in as the first page."""
    from mkdocs.structure.files import File

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    files.append(
        File.generated(config, posixpath.basename(HOME), content=linked(text, "README.md", config.repo_url))
    )
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Rewrites the links of every other page."""
    if page.file.src_uri == posixpath.basename(HOME):
        return markdown
    return linked(markdown, f"docs/{page.file.src_uri}", config.repo_url)


def lay_out_demo(folder: Path) -> list[Path]:
    """Copies what the demo runs beside its page; gives what is not built (``make wasm``)."""
    lacking = [path for path in DEMO if not path.exists()]
    for path in DEMO:
        if path not in lacking:
            shutil.copyfile(path, folder / path.name)
    return lacking


def on_post_build(config: Any) -> None:
    """Lays out the demo. Without the modules its page says what is missing; the rest of the site is whole."""
    for path in lay_out_demo(Path(config.site_dir) / "demo"):
        log.info("the demo lacks %s: make wasm", path.name)
