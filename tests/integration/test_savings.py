"""`tiny-dancer savings`, as a user runs it, on databases a gateway would have written."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest
from tests.commands import done, fails
from tests.contract.requests import DAY, MIDNIGHT, api_key, request

from tiny_dancer.storage import Feedback, SqliteStorage

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.db"
    learned = {
        "router": "default",
        "routed_by": "learned",
        "key": "k1",
        "input_tokens": 1000,
        "output_tokens": 200,
    }
    with SqliteStorage(path) as storage:
        storage.insert_api_key(api_key("k1", name="web [bold]shop"))
        storage.record_requests(
            [
                *[
                    request(
                        f"{n}",
                        MIDNIGHT + n,
                        **learned,
                        model="small",
                        decision_id=f"d{n}",
                        cost=0.25,
                        baseline_cost=1.0,
                    )
                    for n in range(8)
                ],
                request("dear", MIDNIGHT + 2 * DAY, **learned, model="large", cost=2.0, baseline_cost=2.0),
                request("free", MIDNIGHT + 2 * DAY, model="new", routed_by="client"),
                request("half", MIDNIGHT + 2 * DAY, model="new", routed_by="client", cost=0.5),
                request("bad", MIDNIGHT + 2 * DAY, status=502, error="bad_gateway"),
            ]
        )
        storage.record_feedback(Feedback("d1", 0.25))
    return path


def test_what_is_guessed_is_said(database: Path) -> None:
    assert "guessed" not in done("savings", database)
    left = request("left", MIDNIGHT, model="small", status=499, cost=0.5, guessed=True, guessed_cost=0.25)
    with SqliteStorage(database) as storage:
        storage.record_requests([left])
    said = done("savings", database)
    assert "0.2500 USD of what was spent is guessed, for 1 request whose upstream did not say" in said
    total = json.loads(done("savings", database, "--json"))["total"]
    assert (total["guessed"], total["guessed_cost"]) == (1, 0.25)


def test_how_far_days_differ_is_said_from_eight_days_on(database: Path) -> None:
    assert "as days differ" not in done("savings", database)
    paid = {"model": "small", "cost": 0.25, "baseline_cost": 1.0}
    with SqliteStorage(database) as storage:
        storage.record_requests([request(f"day {n}", MIDNIGHT + (3 + n) * DAY, **paid) for n in range(8)])
    assert "over 10 days: " in done("savings", database)
    found = json.loads(done("savings", database, "--json"))["over_days"]
    assert found["days"] == 10
    assert found["saved"]["low"] < found["saved"]["estimate"] < found["saved"]["high"]


def test_what_was_saved_is_said_with_what_was_left_out(database: Path) -> None:
    said = done("savings", database)
    assert (
        "saved 6.000 USD (60.0%): spent 4.000 USD where the strongest model alone would have cost 10.00 USD"
        in said
    )
    assert "over 9 requests" in said
    assert (
        "2 requests have no price or no baseline and are left out; 0.5000 USD of known spend is among them" in said
    )
    rows = [line.split() for line in said.splitlines()]
    assert ["2025-07-31", "8", "0", "8,000", "1,600", "2.00", "8.00", "6.00", "75.0%", "0", "0.25"] in rows
    assert ["2025-08-02", "4", "1", "1,000", "200", "2.00", "2.00", "0.00", "0.0%", "2"] in rows
    assert ["all", "12", "1", "9,000", "1,800", "4.00", "10.00", "6.00", "60.0%", "2", "0.25"] in rows


def test_by_model_key_and_route(database: Path) -> None:
    for by, names in (
        ("model", ("small", "large", "new", "(none served)")),
        ("key", ("web [bold]shop (k1)", "(no key)")),
        ("route", ("default/learned", "client", "(not routed)")),
    ):
        said = done("savings", database, "--by", by)
        assert all(name in said for name in names), said


def test_json_has_every_figure(database: Path) -> None:
    found = json.loads(done("savings", database, "--by", "model", "--json"))
    assert [each["group"] for each in found["groups"]] == ["", "large", "new", "small"]
    small = found["groups"][-1]
    assert (small["cost"], small["baseline_cost"], small["saved"], small["saved_share"]) == (2.0, 8.0, 6.0, 0.75)
    assert (small["feedback"], small["score"]) == (1, 0.25)
    assert found["total"]["requests"] == 12
    assert found["total"]["unpriced"] == 2
    assert found["groups"][2]["saved_share"] is None


def test_a_span_of_time(database: Path) -> None:
    found = json.loads(done("savings", database, "--since", "2025-08-02", "--json"))
    assert (found["since"], found["total"]["requests"]) == (MIDNIGHT + 2 * DAY, 4)
    assert (
        json.loads(done("savings", database, "--since", "2025-07-31T02:00:07+02:00", "--json"))["total"][
            "requests"
        ]
        == 5
    )
    days = (time.time() - MIDNIGHT) / DAY
    assert json.loads(done("savings", database, "--days", days - 1, "--json"))["total"]["requests"] == 4
    assert "no requests in this time" in done("savings", database, "--days", 0.001)


def test_a_loss_is_said_to_be_one(tmp_path: Path) -> None:
    with SqliteStorage(tmp_path / "a.db") as storage:
        storage.record_requests([request("a", model="m", cost=3.0, baseline_cost=2.0)])
    said = done("savings", tmp_path / "a.db")
    assert (
        "LOST 1.000 USD (50.0%): spent 3.000 USD where the strongest model alone would have cost 2.000 USD" in said
    )
    assert "saved 1" not in said
    assert "LOST" in done("savings", tmp_path / "a.db", "--plot", tmp_path / "a.html")
    assert "LOST" in (tmp_path / "a.html").read_text()


def test_nothing_saved_and_nothing_to_compare(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    SqliteStorage(path).close()
    assert done("savings", path, "--plot", tmp_path / "a.svg").strip().endswith("no requests")
    assert not (tmp_path / "a.svg").exists()
    assert json.loads(done("savings", path, "--json")) == {
        "by": "day",
        "since": None,
        "total": None,
        "over_days": None,
        "groups": [],
    }
    with SqliteStorage(path) as storage:
        storage.record_requests([request("a", model="m")])
    assert "nothing can be compared" in done("savings", path)
    with SqliteStorage(path) as storage:
        storage.record_requests([request("b", model="m", cost=2e-7, baseline_cost=2e-7)])
    assert "saved nothing: spent 0.0000002000 USD" in done("savings", path)
    with SqliteStorage(path) as storage:
        storage.record_requests([request("c", model="m", cost=0.0, baseline_cost=0.0)])
    done("savings", path)


@pytest.mark.parametrize("days", [1, 3, 400])
def test_plots_are_files_of_their_kind(tmp_path: Path, days: int) -> None:
    path = tmp_path / "a.db"
    with SqliteStorage(path) as storage:
        storage.record_requests(
            [
                request(f"{n}", MIDNIGHT + n * DAY, model="<m>", cost=0.001, baseline_cost=0.01 * (n % 3))
                for n in range(0, days, 2)
            ]
        )
    for kind in ("svg", "png", "html"):
        plot = tmp_path / f"plot.{kind}"
        assert f"{plot}: written" in done("savings", path, "--plot", plot)
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG\r\n")
    svg = (tmp_path / "plot.svg").read_text()
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    page = (tmp_path / "plot.html").read_text()
    assert page.count("<svg") == 1
    assert 'aria-label="' in page
    assert page.count('<th scope="row">') == len(range(0, days, 2))
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*(https?:)?//""", page), "nothing is fetched"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["missing.db"], "no such file"),
        (["gateway.db", "--days", "0"], "days"),
        (["gateway.db", "--days", "nan"], "days"),
        (["gateway.db", "--since", "yesterday"], "since"),
        (["gateway.db", "--since", "1960-01-01"], "since"),
        (["gateway.db", "--since", "2025-01-01", "--days", "3"], "not both"),
        (["gateway.db", "--by", "colour"], "colour"),
        (["gateway.db", "--plot", "plot.gif"], ".svg"),
        (["gateway.db", "--plot", "missing/plot.svg"], "folder"),
    ],
)
def test_what_cannot_be_done_is_one_line(database: Path, arguments: list[str], word: str) -> None:
    assert word in fails(2, "savings", *arguments, cwd=database.parent)
