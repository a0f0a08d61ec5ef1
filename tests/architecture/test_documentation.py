"""The site has every page and every public name, and no page links to what is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from tools.documentation import linked

import tiny_dancer

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
REPOSITORY = "https://example.org/repository"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def navigation() -> list[str]:
    """The pages that mkdocs.yml names."""

    def pages(part: object) -> list[str]:
        if isinstance(part, str):
            return [part]
        values = part if isinstance(part, list) else list(part.values()) if isinstance(part, dict) else []
        return [page for each in values for page in pages(each)]

    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    return pages(yaml.safe_load(text)["nav"])


def test_the_navigation_names_every_page_once() -> None:
    there = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
    assert sorted(navigation()) == sorted([*there, "index.md"]), "mkdocs.yml: nav"


def test_every_public_name_is_in_the_reference_once() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in (DOCS / "reference").glob("*.md"))
    named = re.findall(r"^::: tiny_dancer\.(\w+)$", text, re.MULTILINE)
    assert sorted([*named, "__version__"]) == sorted(tiny_dancer.__all__), "docs/reference"
    assert "`tiny_dancer.__version__`" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_links_to_exists(page: Path, caplog: pytest.LogCaptureFixture) -> None:
    linked(page.read_text(encoding="utf-8"), page.relative_to(ROOT).as_posix(), REPOSITORY)
    assert not caplog.messages


def test_links_lead_to_pages_of_the_site_or_to_the_repository(caplog: pytest.LogCaptureFixture) -> None:
    assert linked("[a](docs/guides/storage.md#x)", "README.md", REPOSITORY) == "[a](guides/storage.md#x)"
    assert linked("[a](storage.md)", "docs/guides/gateway.md", REPOSITORY) == "[a](storage.md)"
    assert linked("[a](../adr/0003-features.md)", "docs/guides/x.md", REPOSITORY) == "[a](../adr/0003-features.md)"
    assert linked("[a](../../NOTICE)", "docs/guides/x.md", REPOSITORY) == f"[a]({REPOSITORY}/blob/main/NOTICE)"
    assert linked("[a](docs/adr)", "README.md", REPOSITORY) == f"[a]({REPOSITORY}/tree/main/docs/adr)"
    for untouched in ("[a](#here)", "[a](https://example.org/x.md)", "[a](../index.md)"):
        assert linked(untouched, "docs/guides/x.md", REPOSITORY) == untouched
    assert not caplog.messages
    linked("[a](missing.md)", "docs/guides/x.md", REPOSITORY)
    assert caplog.messages == ["docs/guides/x.md: links to docs/guides/missing.md, which does not exist"]
