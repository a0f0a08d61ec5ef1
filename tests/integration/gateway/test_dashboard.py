"""The dashboard as people see it: a real browser, server and database. Skips where there is no Chromium."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest
from tests.integration.gateway.processes import Running
from tests.integration.gateway.serving import settings
from tools import dashboard_demo as demo
from tools.browser import Browser, find_browser
from tools.dashboard_pictures import Port, port, sign_in, snapshot

from tiny_dancer.gateway.access.keys import make_key
from tiny_dancer.gateway.dashboard.figures import GROUPINGS
from tiny_dancer.storage import Feedback, SqliteStorage
from tiny_dancer.types import RequestRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

EXECUTABLE = find_browser()
pytestmark = pytest.mark.skipif(
    EXECUTABLE is None, reason="no Chromium: install one, or name it in TINY_DANCER_BROWSER"
)
HOSTILE = "<script>document.title='hacked'</script><img src=x onerror=\"document.title='hacked'\">"
LOOK = "document.dispatchEvent(new Event('visibilitychange'))"
# The page asks every five seconds; tests do not wait so long.
HURRY = (
    "{ const slow = setTimeout; window.setTimeout = (work, ms, ...more) => slow(work, Math.min(ms, 60), ...more) }"
)


@pytest.fixture(scope="module")
def _browser() -> Iterator[Browser]:
    assert EXECUTABLE is not None
    with Browser(EXECUTABLE) as found:
        yield found


@pytest.fixture
def browser(_browser: Browser) -> Iterator[Browser]:
    """With a clean console and no cookies; fails where the page had problems, or asked another host."""
    _browser.do("Network.clearBrowserCookies")
    _browser.size(1280, 900)
    _browser.media(prefers_color_scheme="light")
    _browser.go("about:blank")
    _browser.requests.clear()
    _browser.problems.clear()
    yield _browser
    hosts = {urlsplit(each).hostname for each in _browser.requests if not each.startswith(("about:", "data:"))}
    assert hosts <= {"127.0.0.1"}
    assert not _browser.problems


@pytest.fixture(scope="module")
def _demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("dashboard") / "gateway.db"
    return path, demo.write(path, count=2_500)


@pytest.fixture
def shown(browser: Browser, _demo: tuple[Path, str]) -> Iterator[Port]:
    """The demo's data, signed in."""
    path, secret = _demo
    with port(path, [snapshot()], demo.NOW) as served:
        sign_in(browser, served.url, secret)
        yield served


def database(
    path: Path, records: list[RequestRecord], feedback: list[Feedback] | None = None, name: str = "ops"
) -> str:
    made = make_key(name, operator=True, now=demo.NOW - 1000)
    with SqliteStorage(path, mirror=False) as storage:
        storage.insert_api_key(made.key)
        storage.record_requests(records)
        for each in feedback or []:
            storage.record_feedback(each)
    return made.secret


def record(**more: Any) -> RequestRecord:
    fields: dict[str, Any] = {
        "id": "r", "time": demo.NOW - 60, "endpoint": "chat.completions", "key": "", "asked": "auto",
        "status": 200, "model": "swift-mini", "input_tokens": 10, "output_tokens": 5, "cost": 0.01,
        "baseline_cost": 0.03,
        "latency": 0.5, **more,
    }  # fmt: skip
    return RequestRecord(**fields)


def figures(browser: Browser) -> dict[str, tuple[str, str]]:
    """Title, value and note of each figure."""
    script = "[...document.querySelectorAll('#total > div')].map((d) => [...d.children].map((c) => c.textContent))"
    return {title: (value, note) for title, value, note in browser.value(script)}


def rows(browser: Browser, table: str) -> list[list[str]]:
    script = (
        f"[...document.querySelectorAll('{table} tbody tr')].map((r) => [...r.cells].map((c) => c.textContent))"
    )
    found: list[list[str]] = browser.value(script)
    return found


def number(text: str) -> float:
    return float(re.sub(r"[$,\s%]", "", text.replace("−", "-")))


def pick(browser: Browser, name: str, until: str) -> None:
    browser.value(f"document.querySelector('#ranges input[value=\"{name}\"]').click()")
    browser.until(until)


def group(browser: Browser, by: str) -> None:
    browser.until(f"document.getElementById('by').options.length === {len(GROUPINGS)}")
    choose = "by.value = name; by.dispatchEvent(new Event('change'))"
    browser.value(f"((by, name) => {{ {choose} }})(document.getElementById('by'), '{by}')")
    browser.until(f"document.getElementById('h-groups').textContent === 'By {by.replace('_', ' ')}'")


def fill(browser: Browser, **values: str) -> None:
    for id, value in values.items():
        browser.value(f"document.getElementById('{id}').value = '{value}'")
    browser.value("document.querySelector('#custom button').click()")


def test_the_numbers_are_those_of_analytics(browser: Browser, shown: Port, _demo: tuple[Path, str]) -> None:
    pick(browser, "30d", "document.getElementById('requests').textContent.includes('per day')")
    day = 86_400
    until = (demo.NOW // day + 1) * day
    with SqliteStorage(_demo[0], read_only=True, mirror=False) as storage:
        (whole,) = storage.request_summary(since=until - 30 * day, until=until)
        by_model = storage.request_summary(by="model", since=until - 30 * day, until=until)
    found = figures(browser)
    assert number(found["Requests"][0]) == whole.requests
    assert number(found["Spent"][0]) == pytest.approx(whole.spent, rel=0.005)
    assert number(found["Saved"][0]) == pytest.approx(whole.saved, rel=0.005)
    assert number(found["Failed"][0]) == pytest.approx(100 * whole.errors / whole.requests, abs=0.05)
    assert number(found["Feedback"][0]) == pytest.approx(whole.score, abs=0.005)
    table = {row[0]: row for row in rows(browser, "#groups")}
    assert len(table) == len(by_model)
    for each in by_model:
        row = table[each.group[0] or "no model served"]
        assert number(row[1]) == each.requests
        assert number(row[5]) == pytest.approx(each.spent, rel=0.005, abs=5e-9)
    # The charts' tables sum up to the same.
    browser.value("document.querySelector('#requests details').open = true")
    browser.until("document.querySelectorAll('#requests details tbody tr').length === 30")
    assert sum(number(cell) for row in rows(browser, "#requests details") for cell in row[1:]) == whole.requests


def test_what_each_other_model_would_have_cost_is_shown(
    browser: Browser, shown: Port, _demo: tuple[Path, str]
) -> None:
    browser.value("document.querySelector('#decisions .why').click()")
    browser.until("!!document.querySelector('#decisions .detail')")
    with SqliteStorage(_demo[0], read_only=True, mirror=False) as storage:
        (last,) = storage.request_history(limit=1)
    models = {row[0]: row for row in rows(browser, "#decisions .detail table")}
    assert set(models) == set(demo.MODELS)
    for name, (_, price_in, price_out, _, _) in demo.MODELS.items():
        expected = (last.input_tokens * price_in + last.output_tokens * price_out) / 1e6
        assert number(models[name][2]) == pytest.approx(expected, rel=0.01, abs=5e-9)
        assert (models[name][3] == "served") == (name == last.model)


def test_every_grouping_can_be_chosen(browser: Browser, shown: Port) -> None:
    for by in ("router", "key", "upstream", "error", "tag"):
        group(browser, by)
    browser.until("document.querySelector('#groups').textContent.includes('no tag')")


def test_a_custom_range(browser: Browser, shown: Port) -> None:
    browser.value("document.querySelector('#ranges input[value=custom]').click()")
    fill(browser, since="2026-11-20T00:00", until="2026-11-10T00:00")
    assert browser.until("document.getElementById('refusal').textContent") == "The range ends before it begins."
    fill(browser, until="2026-11-21T00:00")
    browser.until("document.getElementById('spend').textContent.includes('per 15 min')")
    browser.value("document.querySelector('#spend details').open = true")
    browser.until("document.querySelectorAll('#spend details tbody tr').length === 96")
    assert rows(browser, "#spend details")[0][0] == "2026-11-20 00:00"


@pytest.mark.parametrize("width", [320, 360, 768, 1280])
@pytest.mark.parametrize("empty", [False, True])
def test_nothing_is_wider_than_the_window(
    browser: Browser, width: int, empty: bool, _demo: tuple[Path, str], tmp_path: Path
) -> None:
    long = "a-model-of-a-very-long-name-" * 6
    path, secret = tmp_path / "long.db", ""
    if empty:
        secret = database(
            path, [record(model=long, asked=long, error=long, status=500, router=long, hops=long * 4)], name=long
        )
    else:
        path, secret = _demo
    browser.size(width, 800)
    with port(path, [snapshot()], demo.NOW) as served:
        browser.go(f"{served.url}/login")
        assert browser.value("document.documentElement.scrollWidth") <= width
        sign_in(browser, served.url, secret)
        browser.value("document.querySelector('#ranges input[value=custom]').click()")
        browser.value("document.querySelectorAll('details').forEach((each) => (each.open = true))")
        browser.value("document.querySelector('#decisions .why')?.click()")
        assert browser.value("document.documentElement.scrollWidth") <= width


def test_it_follows_the_dark(browser: Browser, shown: Port) -> None:
    colour = "getComputedStyle(document.body).backgroundColor.match(/[\\d.]+/g)"
    page = f"{colour}.slice(0, 3).reduce((all, each) => all + Number(each), 0) / 3"
    assert browser.value(page) > 200
    browser.media(prefers_color_scheme="dark")
    assert browser.until(f"{page} < 60")
    browser.value("new Promise(requestAnimationFrame)")
    assert browser.value("document.querySelectorAll('.uplot canvas').length") >= 5


CONTRAST = """
(() => {
  const parse = (text) => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return [r, g, b, a]; };
  const channel = (x) => ((x /= 255) <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour[3] > 0.99) return colour;
    }
    return [255, 255, 255];
  };
  const bad = [];
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    const style = getComputedStyle(element);
    if (!own || !element.getClientRects().length || element.closest('.unseen, .skip')) continue;
    const [a, b] = [light(parse(style.color)), light(behind(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const name = element.className || element.tagName;
    if (ratio < 4.5) bad.push(`${name}: ${element.textContent.slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return [...new Set(bad)];
})()
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(browser: Browser, shown: Port, scheme: str) -> None:
    """WCAG 2.2 AA: 4.5 to 1."""
    browser.media(prefers_color_scheme=scheme)
    browser.value("document.querySelector('#decisions .why').click()")
    assert browser.value(CONTRAST) == []


def test_all_is_reached_by_the_keyboard(browser: Browser, shown: Port) -> None:
    browser.value("document.activeElement?.blur()")
    reached: list[str] = []
    what = "(({ id, tagName, name, className }) => id || name || className || tagName)(document.activeElement)"
    for _ in range(60):
        browser.press("Tab")
        name = str(browser.value(what))
        reached.append(name)
        visible = browser.value(
            "(() => { const e = document.activeElement;"
            " const s = getComputedStyle(e.matches('#ranges input') ? e.nextElementSibling : e);"
            " return s.outlineStyle !== 'none' || e === document.body; })()"
        )
        assert visible, f"the focus on {name} is not seen"
    order = [reached.index(each) for each in ("skip", "range", "by", "pause", "groups", "decisions", "why")]
    assert order == sorted(order), reached
    # A range by its arrow keys, a request by Enter.
    browser.value("document.querySelector('#ranges input:checked').focus()")
    browser.press("ArrowRight")
    browser.until("document.querySelector('#ranges input:checked').value === '7d'")
    browser.value("document.querySelector('#decisions .why').focus()")
    browser.press("Enter")
    browser.until("document.querySelector('#decisions .why').getAttribute('aria-expanded') === 'true'")
    assert browser.value("document.activeElement.className") == "why"


def test_it_can_be_read_aloud(browser: Browser, shown: Port) -> None:
    assert browser.value("document.documentElement.lang") == "en"
    assert (
        browser.value("['header', 'main', 'footer', 'h1'].map((each) => document.querySelectorAll(each).length)")
        == [1] * 4
    )
    # Every section has a heading, every chart a sentence and a table, every table a caption.
    assert browser.value(
        "[...document.querySelectorAll('section')].every((each) => each.querySelector('h2').textContent)"
    )
    sentences = browser.value(
        "[...document.querySelectorAll('.chart')].filter((c) => !c.hidden).map((c) => [c.role, c.ariaLabel])"
    )
    assert len(sentences) >= 5
    assert all(role == "img" and len(label) > 40 for role, label in sentences)
    assert browser.value("document.querySelectorAll('.chart ~ details summary').length") == 6
    assert browser.value("[...document.querySelectorAll('table')].every((each) => each.caption?.textContent)")
    assert browser.value("[...document.querySelectorAll('input, select')].every((each) => each.labels.length)")
    # One place speaks by itself, and it does not say the same again.
    browser.until("document.getElementById('state').textContent === 'Serving.'")
    assert browser.value(
        "[...document.querySelectorAll('[aria-live], [role=status], [role=alert]')].map((each) => each.id)"
    ) == ["state", "refusal"]
    browser.value(
        "window.said = 0; new MutationObserver(() => (window.said += 1))"
        ".observe(document.getElementById('state'), { childList: true, subtree: true, characterData: true })"
    )
    for _ in range(2):
        browser.value(f"{LOOK}; new Promise((done) => setTimeout(done, 150))")
    assert browser.value("window.said") == 0


def test_it_is_the_same_wherever_its_reader_lives(browser: Browser, shown: Port) -> None:
    """Times are UTC, numbers written one way, whatever zone and language the browser has."""
    words = "[document.querySelector('#total').textContent, document.querySelector('#decisions').textContent]"
    here = browser.value(words)
    try:
        browser.do("Emulation.setTimezoneOverride", timezoneId="Asia/Kathmandu")
        browser.do("Emulation.setLocaleOverride", locale="de-DE")
        browser.go(shown.url)
        browser.until("document.querySelectorAll('#decisions .why').length === 50")
        browser.until("document.querySelectorAll('#total dd').length > 0")
        assert browser.value(words) == here
        browser.value("document.querySelector('#ranges input[value=custom]').click()")
        fill(browser, since="2026-11-20T00:00", until="2026-11-21T00:00")
        browser.until("document.getElementById('spend').textContent.includes('per 15 min')")
        browser.value("document.querySelector('#spend details').open = true")
        browser.until("document.querySelectorAll('#spend details tbody tr').length === 96")
        assert rows(browser, "#spend details")[0][0] == "2026-11-20 00:00"
    finally:
        browser.do("Emulation.setTimezoneOverride", timezoneId="")
        browser.do("Emulation.setLocaleOverride")


def test_hostile_words_are_words(browser: Browser, tmp_path: Path) -> None:
    """A model, key, route, user, reason, error or feedback named like markup is shown, and does nothing."""
    hostile = {
        "id": HOSTILE, "asked": HOSTILE, "model": HOSTILE, "upstream": HOSTILE, "router": HOSTILE,
        "routed_by": HOSTILE, "reason": HOSTILE, "error": HOSTILE, "hops": HOSTILE, "user": HOSTILE,
        "team": HOSTILE, "project": HOSTILE,
        "tags": (HOSTILE,), "agent": HOSTILE, "route": HOSTILE, "endpoint": HOSTILE, "decision_id": "d",
        "scores": {HOSTILE: 0.7, "__proto__": 0.1, "constructor": 0.2}, "confidence": 0.5, "status": 500,
    }  # fmt: skip
    path = tmp_path / "hostile.db"
    secret = database(path, [record(**hostile)], [Feedback("d", 1.0, text=HOSTILE)], name=HOSTILE)
    worker = snapshot()
    status = msgspec.structs.replace(worker.status, notes=[HOSTILE], ready=False, reasons=[HOSTILE])
    with port(path, [msgspec.structs.replace(worker, status=status)], demo.NOW) as served:
        sign_in(browser, served.url, secret)
        browser.value("document.querySelector('#decisions .why').click()")
        for by in GROUPINGS:
            group(browser, by)
        browser.value("document.querySelectorAll('details').forEach((each) => (each.open = true))")
        assert browser.value("document.title") == "Dashboard · Tiny Dancer"
        assert browser.value("document.querySelectorAll('main script, main img').length") == 0
        assert browser.value(f"document.getElementById('decisions').textContent.includes({json.dumps(HOSTILE)})")
        assert browser.value(f"document.getElementById('notices').textContent.includes({json.dumps(HOSTILE)})")


def test_an_empty_store_and_its_first_request(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "empty.db"
    secret = database(path, [])
    with port(path, [snapshot()], demo.NOW) as served:
        sign_in(browser, served.url, secret)
        assert figures(browser) == {"Requests": ("0", "None in this range yet.")}
        assert "NaN" not in browser.value("document.body.textContent")
        with SqliteStorage(path, mirror=False) as storage:
            storage.record_requests([record()])
        served.dashboard._reader._kept.clear()
        browser.value(LOOK)
        browser.until("document.getElementById('total').textContent.includes('$0.01')")
        assert figures(browser)["Requests"][0] == "1"
        assert number(figures(browser)["Saved"][0]) == 0.02


def test_who_is_shown_together_has_colours_apart(browser: Browser, tmp_path: Path) -> None:
    """Also where another range before has shown others; and those that stay keep theirs."""
    path = tmp_path / "colours.db"
    last = [f"hour{n}" for n in range(5)]
    whole = [*last[:3], *[f"day{n}" for n in range(5)]]
    times = [(name, demo.NOW - 60) for name in last] + [(name, demo.NOW - 7200) for name in whole * 3]
    secret = database(path, [record(id=str(n), model=name, time=at) for n, (name, at) in enumerate(times)])
    with port(path, [snapshot()], demo.NOW) as served:
        sign_in(browser, served.url, secret)
        pick(browser, "1h", "document.querySelectorAll('#spend .legend li').length === 5")
        before = _legend(browser, "spend")
        pick(browser, "24h", "document.querySelectorAll('#spend .legend li').length === 9")
        spend = _legend(browser, "spend")
        assert set(whole) < spend.keys()
        assert len(set(spend.values())) == 9
        assert _legend(browser, "requests") == spend
        assert {name: spend[name] for name in last[:3]} == {name: before[name] for name in last[:3]}


def _legend(browser: Browser, chart: str) -> dict[str, str]:
    """Colours by name."""
    of = "[e.querySelector('.name').textContent, e.querySelector('.swatch').style.background]"
    return dict(browser.value(f"[...document.querySelectorAll('#{chart} .legend li')].map((e) => {of})"))


@pytest.mark.parametrize("size", [2**40, 1])
def test_numbers_of_any_size(browser: Browser, tmp_path: Path, size: int) -> None:
    path = tmp_path / "huge.db"
    many = [
        record(id=str(n), model=f"m{n % 900}", time=demo.NOW - 60 - n, input_tokens=size, output_tokens=size,
               cost=size * 1e12,
               baseline_cost=0.0, latency=size * 1e-9, confidence=1.0, scores={f"m{n % 900}": float("nan")})
        for n in range(2_000)
    ]  # fmt: skip
    secret = database(path, many)
    with port(path, [snapshot()], demo.NOW) as served:
        sign_in(browser, served.url, secret)
        text = browser.value("document.querySelector('main').textContent")
        assert not re.search(r"NaN|undefined|Infinity|\[object", text)
        assert "Lost by routing" in figures(browser)
        # 900 models: eight by name, the rest together.
        browser.until("document.querySelectorAll('#groups tbody tr').length === 9")
        table = rows(browser, "#groups")
        assert len(table) == 9
        assert table[-1][0] == "892 others"
        assert sum(number(row[1]) for row in table) == 2_000


def test_it_lives_and_says_when_it_does_not(browser: Browser, _demo: tuple[Path, str], tmp_path: Path) -> None:
    path = tmp_path / "live.db"
    secret = database(path, [record()])
    hurried = browser.do("Page.addScriptToEvaluateOnNewDocument", source=HURRY)["identifier"]
    try:
        with port(path, [snapshot()], demo.NOW) as served:
            sign_in(browser, served.url, secret)
            with SqliteStorage(path, mirror=False) as storage:
                storage.record_requests([record(id="second", cost=1.0)])
            browser.until("document.getElementById('total').textContent.includes('$1.01')")
            browser.value("document.getElementById('pause').click()")
            browser.requests.clear()
            browser.value("new Promise((done) => setTimeout(done, 60))")
            browser.value("new Promise((done) => setTimeout(done, 60))")
            assert len(browser.requests) <= 7, "what was under way, and nothing after"
            browser.value("document.getElementById('pause').click()")
        browser.until(
            "document.getElementById('state').textContent"
            ".startsWith('The gateway does not answer. Figures are from')"
        )
        assert "$1.01" in browser.value("document.getElementById('total').textContent")
        browser.problems.clear()  # the browser itself says which connections failed
    finally:
        browser.do("Page.removeScriptToEvaluateOnNewDocument", identifier=hurried)
        browser.go("about:blank")
        browser.problems.clear()


def test_what_cannot_be_read_is_said_and_the_rest_goes_on(browser: Browser, shown: Port) -> None:
    shown.dashboard._data = {**shown.dashboard._data, "budgets": _fails}
    browser.value(LOOK)
    browser.until("document.getElementById('notices').textContent.includes('Not read: budgets')")
    assert browser.value("document.getElementById('state').textContent") == "Serving; some figures cannot be read."
    browser.problems.clear()


async def _fails(query: object) -> None:
    from tiny_dancer.gateway.dashboard.reading import _unavailable

    raise _unavailable("The database is slow.")


def test_a_range_that_takes_long_to_read_says_from_when_it_is(browser: Browser, shown: Port) -> None:
    kept = shown.dashboard._reader._kept
    for name, each in list(kept.items()):
        kept[name] = dataclasses.replace(each, until=math.inf)
    shown.dashboard._clock = lambda: demo.NOW + 40
    browser.value(LOOK)
    browser.until("document.getElementById('notices').textContent.includes('This range is as it was at 13:00:00')")


def test_a_tab_that_stays_open_does_not_grow(browser: Browser, shown: Port) -> None:
    browser.value("document.querySelector('#decisions .why').click()")
    count = "document.querySelectorAll('*').length"
    before = browser.value(count)
    for place in range(30):
        shown.dashboard._reader._kept.clear()
        name = ("1h", "24h")[place % 2]
        browser.value(f"document.querySelector('#ranges input[value=\"{name}\"]').click(); {LOOK}")
    browser.value("new Promise((done) => setTimeout(done, 500))")
    assert browser.value("document.querySelectorAll('.uplot').length") <= 6
    assert browser.value(count) < 1.2 * before


@pytest.mark.parametrize("workers", [1, 2])
def test_a_gateway_is_watched_while_it_serves(
    browser: Browser, workers: int, cheap: Any, strong: Any, tmp_path: Path, reloaded: Callable[[Running], None]
) -> None:
    """The command, in processes of its own: sign in, see requests arrive, reload it, kill a worker."""
    with Running(settings(cheap, strong, workers=workers), tmp_path / "gateway") as gateway:
        made = make_key("ops", operator=True)
        with SqliteStorage(tmp_path / "gateway" / "gateway.db", mirror=False) as storage:
            storage.insert_api_key(made.key)
        url = f"{gateway.health}/dashboard"
        assert httpx.get(f"{url}/data/summary", trust_env=False).status_code == 401
        browser.go(f"{url}/login")
        browser.until("document.activeElement.id === 'key'")
        browser.type("td-wrong")
        browser.press("Enter")
        browser.until("document.querySelector('.notice')?.textContent.includes('not the key of an operator')")
        browser.problems.clear()  # the browser notes the 401
        sign_in(browser, url, made.secret)
        assert browser.value("location.href") == url
        assert made.secret not in browser.value(
            "document.documentElement.outerHTML + document.cookie + JSON.stringify({ ...localStorage })"
        )
        for _ in range(3):
            assert gateway.chat(model="auto").status_code == 200
        _wait_for(
            browser,
            "document.querySelector('#total').textContent.startsWith('Spent') && "
            "document.querySelectorAll('#decisions tbody tr').length === 3",
        )
        reloaded(gateway)
        browser.value(LOOK)
        wanted = "Serving." if workers == 1 else "Serving, 2 workers."
        _wait_for(browser, f"document.getElementById('state').textContent === '{wanted}'")
    assert made.secret not in gateway.text


def _wait_for(browser: Browser, expression: str) -> None:
    end = time.monotonic() + 60
    while not browser.value(f"{LOOK}; {expression}"):
        assert time.monotonic() < end, expression
        browser.value("new Promise((done) => setTimeout(done, 200))")


@pytest.fixture
def reloaded() -> Callable[[Running], None]:
    import os
    import signal

    def act(gateway: Running) -> None:
        gateway.send(signal.SIGHUP)
        gateway.line("reloaded")
        workers = gateway.workers()
        if len(workers) > 1:
            os.kill(workers[1], signal.SIGKILL)
            while gateway.workers().get(1) in (None, workers[1]):
                time.sleep(0.1)

    return act
