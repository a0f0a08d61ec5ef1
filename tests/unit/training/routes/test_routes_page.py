"""What routes get wrong, as a page and in the terminal: complete, escaped, and nothing fetched."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from tiny_dancer import Route, SemanticRoutes
from tiny_dancer.training.routes.lint import lint_routes
from tiny_dancer.training.routes.misses import find_misses, miss_tables
from tiny_dancer.training.routes.page import evaluation_page, lint_page
from tiny_dancer.training.routes.report import evaluation_lines

HOSTILE = '<script>alert("x")</script> & \u202edrow\x00 refund'
ROUTES = SemanticRoutes(
    [
        Route("refund", ["I want my money back", "refund my order"]),
        Route("<b>status</b>", ["where is my order", "track my delivery"]),
    ]
)
TEXTS = ["refund my money", "track my order", "where is my money back", HOSTILE, "what is a volcano", "my order"]
LABELS = ["refund", "<b>status</b>", "<b>status</b>", "<b>status</b>", None, "refund"]


class Reader(HTMLParser):
    """Checks that what opens closes, and keeps tags and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    assert not reader.open
    assert "script" not in reader.tags
    # Nothing is fetched, from nowhere.
    assert not re.search(r"(?:src|href)=|url\(|@import|https?:", page)
    assert "prefers-color-scheme:dark" in page and "width=device-width" in page
    assert "\u202e" not in page and "\x00" not in page
    return reader


def test_misses_are_what_went_wrong() -> None:
    misses = find_misses(ROUTES, TEXTS, LABELS)
    found = ROUTES.evaluate(TEXTS, LABELS)
    assert len(misses.wrong) == sum(count for _, _, count in found.confusions) > 0
    assert all(own != other for _, own, other, _ in misses.wrong)
    assert [text for text, _, _ in misses.let_in] == ["what is a volcano"]
    leads = [lead for *_, lead in misses.close]
    assert leads == sorted(leads) and len(leads) + len(misses.wrong) == 5
    assert all(other and other != own for _, own, other, _ in misses.close)
    assert set(misses.examples) == {(own, other) for own, other, _ in found.confusions}
    assert not misses.left_out


def test_the_page_of_a_judgement_escapes_what_it_shows() -> None:
    found = ROUTES.evaluate(TEXTS, LABELS)
    page = evaluation_page(
        "a<i>.safetensors", evaluation_lines(found, 5), found, find_misses(ROUTES, TEXTS, LABELS)
    )
    reader = read(page)
    said = " ".join(reader.text)
    assert "b" not in reader.tags and "i" not in reader.tags
    assert "<b>status</b>" in said and '<script>alert("x")</script>' in said
    for heading in ("Confusions", "Wrong, and sure of it", "Nearly missed", "Let in", "Left out"):
        assert heading in said
    assert "accuracy" in said


def test_the_page_of_findings_escapes_what_it_shows() -> None:
    texts = [text for route in ROUTES.routes for text in route.utterances] + [HOSTILE, "refund my order"]
    labels = [route.name for route in ROUTES.routes for _ in route.utterances] + ["<b>status</b>", "<b>status</b>"]
    found = lint_routes(texts, labels, ROUTES, ["what is a volcano"])
    said = " ".join(read(lint_page("t.csv", found)).text)
    assert "Nearer to another route" in said and "refund my order" in said
    assert "Requests that no route is for" in said


def test_long_tables_are_cut_and_say_so() -> None:
    texts = [f"refund my order {number}" for number in range(300)]
    misses = find_misses(ROUTES, texts, ["<b>status</b>"] * 300)
    assert len(misses.wrong) == 200
    assert all(len(examples) == 5 for examples in misses.examples.values())
    tables = miss_tables(find_misses(ROUTES, TEXTS, LABELS), 2)
    assert [table.row_count for table in tables] == [2, 1]


def test_routes_with_conditions_have_no_runner_up() -> None:
    limited = Route(
        "refund", ["I want my money back", "refund my order"], conditions={"rate": {"requests": 1, "seconds": 9}}
    )
    router = SemanticRoutes([limited, ROUTES.routes[1]])
    assert all(not other for _, _, other, _ in find_misses(router, TEXTS[:2], LABELS[:2]).close)
