"""Both reports: every figure there, every name escaped, nothing fetched."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console

from tiny_dancer.errors import MissingExtraError
from tiny_dancer.evaluation import wording
from tiny_dancer.evaluation.baselines import tfidf_ridge
from tiny_dancer.evaluation.bootstrap import Interval
from tiny_dancer.evaluation.evaluate import evaluate
from tiny_dancer.evaluation.guarantee import hoeffding_bentkus_pvalue
from tiny_dancer.evaluation.html import html_report
from tiny_dancer.evaluation.report import terminal_report
from tiny_dancer.evaluation.results import Evaluation, GuaranteeFigures, RobustnessFigures
from tiny_dancer.evaluation.terminal import FittedTable

from .tables import features_of, informative, make_outcomes

EVIL = 'weak"><script>alert(1)</script>'
MARKUP = "strong [bold]$x_1$[/bold]"
VOID = {"meta", "br", "use", "path", "rect", "stop"}


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    forecast, quality, features = informative(1500, 0)
    tasks = tuple(f"<b>{i % 2}</b>" for i in range(1500))
    table = make_outcomes(quality, models=(EVIL, MARKUP), features=features, task=tasks)
    return evaluate(
        forecast,
        None,
        (forecast - [0, 0.2]).argmax(axis=1),
        table,
        title="<i>demo</i>",
        replicates=100,
        robustness=[RobustnessFigures("typos", 0.031, 0.082)],
        guarantee=GuaranteeFigures(True, "mean", MARKUP, 0.05, 0.1, 1200, 0.093),
    )


class Page(HTMLParser):
    """Collects tags and attributes, and checks that every tag is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed(page: str) -> Page:
    parser = Page()
    parser.feed(page)
    parser.close()
    return parser


def test_page_is_self_contained_and_escaped(evaluation: Evaluation) -> None:
    page = html_report(evaluation)
    found = parsed(page)
    assert not found.open
    assert not {"script", "link", "img", "iframe", "object", "i", "b"} & set(found.tags)
    for name, value in found.attributes:
        assert not name.startswith("on")
        if name in {"href", "src"}:
            assert value.startswith("#")
    assert "http" not in page and "@import" not in page
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))
    ids = [value for name, value in found.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {value[1:] for name, value in found.attributes if name == "href"} <= set(ids)
    text = "".join(found.text)
    assert EVIL in text and MARKUP in text and "<i>demo</i>" in text


def test_page_is_accessible(evaluation: Evaluation) -> None:
    found = parsed(html_report(evaluation))
    assert found.tags.count("svg") == 4
    assert [v for n, v in found.attributes if n == "role"].count("img") == 4
    assert all(v.strip() for n, v in found.attributes if n == "aria-label")
    assert ("lang", "en") in found.attributes and ("scope", "row") in found.attributes
    assert found.tags.count("caption") == found.tags.count("table")


def test_verdict_first_then_every_baseline_then_the_guarantee(evaluation: Evaluation) -> None:
    text = " ".join("".join(parsed(html_report(evaluation)).text).split())
    places = [text.index(evaluation.verdict.headline, text.index("Should you route"))]
    places += [text.index(w, places[0]) for w in ("Means per request", "The guarantee", "How to read")]
    assert places == sorted(places)
    for policy in evaluation.policies:
        assert " ".join(policy.title.split()) in text
        assert f"{policy.quality.estimate:.3f}" in text
    assert "8.2 %" in text and "below 0.05 with confidence 90%" in text
    assert "nan" not in text.lower().replace("finan", "")


def test_same_evaluation_same_page(evaluation: Evaluation) -> None:
    assert html_report(evaluation) == html_report(evaluation)


@pytest.mark.parametrize("width", [60, 160])
def test_terminal_shows_the_same(evaluation: Evaluation, width: int) -> None:
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None).print(terminal_report(evaluation))
    shown = stream.getvalue()
    assert evaluation.verdict.choice in shown and "Guarantee" in shown and "How to read" in shown
    if width == 160:
        assert evaluation.verdict.headline in " ".join(shown.replace("│", " ").split())
        assert "[bold]$x_1$[/bold]" in shown
        for policy in evaluation.policies:
            assert f"{policy.quality.estimate:.3f} [{policy.quality.low:.3f}" in shown


@pytest.fixture(scope="module")
def many() -> Evaluation:
    """Of 60 models with long names, whose costs span four powers of ten."""
    forecast, quality, features = informative(300, 3)
    rng = np.random.default_rng(0)
    names = tuple(f"some-provider/some-model-{number:02d}-instruct-2026-01" for number in range(60))
    table = make_outcomes(
        np.hstack([quality, rng.random((300, 58)) * 0.5]),
        models=names,
        cost=np.broadcast_to(np.geomspace(1e-5, 1e-1, 60), (300, 60)).copy(),
        features=features,
    )
    predicted = np.hstack([forecast, np.full((300, 58), 0.2)])
    return evaluate(predicted, table.cost, predicted.argmax(axis=1), table, replicates=50)


def test_many_models_can_be_read(many: Evaluation) -> None:
    page = html_report(many)
    found = parsed(page)
    assert found.tags.count("details") == 2 and "58 others" in page
    for model in many.models:
        assert model.name in page
    stream = io.StringIO()
    Console(file=stream, width=80, color_system=None).print(terminal_report(many))
    shown = stream.getvalue().split("How to read")[0]
    assert len(shown.splitlines()) < 160 and "16 of 60 models" in shown
    assert "…" not in shown
    figures = [policy for policy in many.policies if policy.name in (f"always {many.best}", "random", "tfidf")]
    assert len(figures) == 3
    for policy in figures:
        assert f"{policy.quality.estimate:.3f} [{policy.quality.low:.3f}, {policy.quality.high:.3f}]" in shown


def test_plots_say_numbers_and_keep_their_legends_off_the_curves(many: Evaluation) -> None:
    page = html_report(many)
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", page)
    assert "mathdefault" not in page and not any("$" in text for text in texts)
    assert "0.001" in texts, "a logarithmic axis of costs"
    for name in ("cost", "calls", "reliability"):
        svg = page[page.index(f'id="{name}-figure_1"') :].split("</svg>")[0]
        axes = re.search(rf'\n  <g id="{name}-axes_1">.*?\n  </g>', svg, re.DOTALL)
        assert axes and f'\n  <g id="{name}-legend_1">' in svg and f"{name}-legend_1" not in axes.group()


def test_zero_has_no_sign() -> None:
    assert wording.number(-1e-9) == "0.000" and wording.percent(-1e-9) == "0.0 %"
    assert wording.money(-1e-12, "USD") == "$0.000000"
    assert wording.span(Interval(-1e-9, -1e-9, 0.0), signed=True) == "+0.000 [+0.000, +0.000]"


@pytest.mark.parametrize("width", [30, 50, 80, 200])
def test_a_table_loses_nothing_at_any_width(width: int) -> None:
    names = ["some-provider/a-model-with-a-long-name-2026-01-31", "[bold]b[/bold]", "c d"]
    rows = [(name, f"{number}.123 [0.456, 0.789]", "free text that goes on") for number, name in enumerate(names)]
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None).print(
        FittedTable(("model", "quality", "note"), rows, "Title", words=frozenset({0, 2}))
    )
    shown = stream.getvalue()
    assert "…" not in shown and max(map(len, shown.splitlines())) <= width
    letters = sorted(re.sub(r"[\s─]", "", shown))
    assert letters == sorted(re.sub(r"\s", "", "Title model quality note" + "".join(map("".join, rows))))
    if width >= 50:  # figures stay whole
        assert all(row[1] in shown for row in rows)


def test_heavy_packages_load_only_where_they_are_used() -> None:
    code = (
        "import sys, tiny_dancer.evaluation.html, tiny_dancer.evaluation.report, "
        "tiny_dancer.evaluation.evaluate, tiny_dancer.evaluation.guarantee; "
        "print(sorted({'scipy', 'sklearn', 'matplotlib', 'pandas', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_missing_extras_say_what_to_install(evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"tiny-dancer\[report\]"):
        html_report(evaluation)
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    with pytest.raises(MissingExtraError, match=r"tiny-dancer\[train\]"):
        hoeffding_bentkus_pvalue(0.1, 10, 0.2)
    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    with pytest.raises(MissingExtraError, match=r"tiny-dancer\[train\]"):
        tfidf_ridge(features_of(("a b",)), np.zeros((1, 1)), np.zeros(1, dtype=np.int64))


def test_bare_evaluation_has_reports_too() -> None:
    one = evaluate(np.full((3, 1), 0.5), None, np.zeros(3, dtype=np.int64), make_outcomes(np.ones((3, 1))))
    assert "only one model" in html_report(one)
    Console(file=io.StringIO()).print(terminal_report(one))
