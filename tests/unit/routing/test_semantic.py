"""Semantic routes as Python sees them: answers, conditions, changes at run time, and what is refused."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from time import sleep
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tiny_dancer import CachedEncoder, CallableEncoder, EndpointEncoder, Route, SemanticRoutes, User, _core
from tiny_dancer.errors import ArtifactError, OptionError, RequestError
from tiny_dancer.routing.spelling import Words

if TYPE_CHECKING:
    from pathlib import Path

ROUTES = (
    Route("refund", ["I want my money back", "refund my order", "return this for a refund"], target="billing"),
    Route("status", ["where is my order", "has my parcel shipped", "track my delivery"]),
    Route("password", ["I forgot my password", "reset my password", "I cannot log in"]),
)
FRIDAY_NIGHT = datetime(2026, 1, 2, 23, tzinfo=UTC)


@pytest.fixture
def routes() -> SemanticRoutes:
    return SemanticRoutes(ROUTES)


def test_a_text_goes_to_the_route_it_is_most_like(routes: SemanticRoutes) -> None:
    found = routes("please refund this order", limit=2)
    assert found.name == found.best == "refund" and found.target == "billing"
    assert found.reason == "most_probable" and not found.calibrated and found.in_scope_score is None
    assert found.top[0][0] == "refund" and len(found.top) == 2
    assert found.confidence == pytest.approx(found.top[0][1])
    assert found.prediction_set is None
    assert routes("please refund this order", exclude=["refund"]).name != "refund"
    assert routes("please refund this order", allowed=["password"]).name == "password"
    many = routes.route_many(["please refund this order", "my parcel"])
    assert [each.name for each in many] == ["refund", "status"] and many[0].confidence == found.confidence
    assert asyncio.run(routes.acall("my parcel")).name == "status"


def test_saved_routes_answer_the_same(routes: SemanticRoutes, tmp_path: Path) -> None:
    routes.save(tmp_path / "r.safetensors")
    again = SemanticRoutes.from_file(tmp_path / "r.safetensors")
    assert again("where is it?") == routes("where is it?")
    assert [route.spec() for route in again.routes] == [route.spec() for route in routes.routes]


def test_the_clock_and_the_user_are_arguments() -> None:
    hours = {"time": {"from": "22:00", "to": "06:00", "zone": "Europe/Berlin", "days": ["sat"]}}
    routes = SemanticRoutes(
        [
            Route("night", ["help me"], conditions=hours),
            Route("day", ["help me please"]),
            Route("vip", ["help me please"], conditions={"tier": ["pro"]}, priority=5),
        ]
    )
    # 23:00 UTC is midnight in Berlin: Saturday's small hours are Friday's night.
    assert routes("help me", now=FRIDAY_NIGHT).name == "day"
    assert routes("help me", now=datetime(2026, 1, 3, 23, tzinfo=UTC)).name == "night"
    vip = routes("help me please", now=FRIDAY_NIGHT, user=User(tier="pro"))
    assert vip.top[0][0] == "day" and vip.name == "vip" and vip.reason == "priority"
    with pytest.raises(RequestError, match="now"):
        routes("help me")
    with pytest.raises(RequestError, match="zone"):
        routes("help me", now=datetime(2026, 1, 2))


def test_a_rate_is_counted_by_user_and_window() -> None:
    limited = Route("limited", ["help me"], conditions={"rate": {"requests": 2, "seconds": 60}})
    routes = SemanticRoutes([limited, Route("other", ["what now"])])

    def ask(now: float, user: str) -> str | None:
        return routes("help me", now=now, user=User(user)).name

    assert [ask(now, "a") for now in (0, 10, 20, 61)] == ["limited", "limited", "other", "limited"]
    assert ask(20, "b") == "limited"


def test_routes_change_at_run_time(routes: SemanticRoutes) -> None:
    routes.add(Route("weather", ["will it rain tomorrow", "is it sunny today"]))
    assert routes("is rain coming").name == "weather"
    routes.update(Route("weather", ["quantum physics lecture"]))
    assert routes("is rain coming").confidence < 0.9
    routes.remove("weather")
    assert [route.name for route in routes.routes] == ["refund", "status", "password"]
    for change in (
        lambda: routes.add(ROUTES[0]),
        lambda: routes.remove("none"),
        lambda: routes.update(Route("n", ["x"])),
    ):
        with pytest.raises(OptionError, match="name"):
            change()


def test_routes_that_mean_nothing_are_refused() -> None:
    for wrong in (
        lambda: SemanticRoutes([]),
        lambda: SemanticRoutes([Route("a", ["x"]), Route("a", ["y"])]),
        lambda: SemanticRoutes([Route("a")]),
        lambda: SemanticRoutes([Route("a", ["x"], threshold=2.0)]),
        lambda: Route(" ", ["x"]),
        lambda: Route("a", "x"),  # type: ignore[arg-type]
        lambda: Route("a", ["  "]),
        lambda: Route("a", ["x" * 200_000]),
        lambda: SemanticRoutes(
            [Route("a", ["x"], conditions={"time": {"from": "08:00", "to": "09:00", "zone": "Mars/X"}})]
        ),
    ):
        with pytest.raises(OptionError):
            wrong()
    conditions: list[dict[str, Any]] = [
        {"time": {"from": "08:00", "to": "08:00"}},
        {"period": {"after": "2026-02-01", "before": "2026-01-01"}},
        {"weather": ["sunny"]},
        {"all": []},
    ]
    for condition in conditions:
        with pytest.raises(ArtifactError):
            SemanticRoutes([Route("a", ["x"], conditions=condition)])
    routes = SemanticRoutes(ROUTES)
    for text in ("", "  \n"):
        with pytest.raises(RequestError, match="text"):
            routes(text)
    for option in ({"limit": -1}, {"false_alarms": 2.0}, {"least_confidence": -1.0}, {"allowed": ["none"]}):
        with pytest.raises(OptionError):
            routes("x", **option)
    assert len(routes("x", limit=99).top) == 3, "more than there are is all of them"


def letters(texts: list[str]) -> np.ndarray:
    return np.array([[text.lower().count(each) for each in "abcdefghijklmnopqrstuvwxyz"] for text in texts], float)


def test_another_encoder_is_remembered_and_checked(tmp_path: Path) -> None:
    encoder = CallableEncoder(letters, "letters", 26)
    routes = SemanticRoutes([Route("a", ["aaa"]), Route("z", ["zzz"])], encoder)
    assert routes("zaz zz").name == "z"
    assert routes("anything", vector=letters(["aa"])[0]).name == "a"
    assert asyncio.run(routes.acall("zaz zz")) == routes("zaz zz")
    routes.save(tmp_path / "r.safetensors")
    assert SemanticRoutes.from_file(tmp_path / "r.safetensors", encoder)("zaz zz").name == "z"
    for other in (None, CallableEncoder(letters, "other", 26), CallableEncoder(letters, "letters", 25)):
        with pytest.raises(OptionError, match="encoder"):
            SemanticRoutes.from_file(tmp_path / "r.safetensors", other)
    with pytest.raises(RequestError, match="vector"):
        routes("x", vector=np.ones(3))
    with pytest.raises(RequestError, match="vector"):
        SemanticRoutes(ROUTES)("x", vector=np.ones(256))
    with pytest.raises(RequestError, match="shape"):
        SemanticRoutes([Route("a", ["aaa"])], CallableEncoder(letters, "letters", 20))
    nothing = CallableEncoder(lambda texts: np.full((len(texts), 2), np.nan), "nan", 2)
    with pytest.raises(RequestError, match="finite"):
        SemanticRoutes([Route("a", ["aaa"])], nothing)


def test_a_cache_is_bounded_and_asks_once() -> None:
    asked: list[str] = []

    def counting(texts: list[str]) -> np.ndarray:
        asked.extend(texts)
        return letters(texts)

    cached = CachedEncoder(CallableEncoder(counting, "letters", 26), most=2)
    np.testing.assert_array_equal(cached.encode(["a", "b", "a"]), letters(["a", "b", "a"]))
    assert asked == ["a", "b"]
    cached.encode(["b", "c"])
    assert asked == ["a", "b", "c"]
    cached.encode(["a"])
    assert asked == ["a", "b", "c", "a"], "the least recently used one was forgotten"


def test_an_endpoint_that_cannot_be_reached_says_so() -> None:
    with pytest.raises(OptionError, match="base_url"):
        EndpointEncoder("ftp://x", "m", 3)
    with pytest.raises(RequestError, match="encoder"):
        EndpointEncoder("http://127.0.0.1:9", "m", 3, timeout=1).encode(["x"])


def test_utterances_are_known_words(routes: SemanticRoutes) -> None:
    right, slipped = routes("track my delivery"), routes("trakc my delivery")
    assert slipped.read_as == "track my delivery" and right.read_as is None
    assert slipped.top == right.top
    assert routes.route_many(["trakc my delivery"])[0].read_as is None, "many at once do not say it"


def test_words_stay_known_when_routes_change(routes: SemanticRoutes) -> None:
    routes.add(Route("tarot", ["read my qwizzlecards", "what do the qwizzlecards say", "qwizzlecards please"]))
    assert routes("read my qwizlecards").read_as == "read my qwizzlecards"
    routes.remove("tarot")
    assert routes("read my qwizlecards").read_as == "read my qwizzlecards"
    again = SemanticRoutes.from_bytes(routes.artifact)
    again.add(Route("weather", ["will it rain", "is it sunny", "the forecast"]))
    assert again("read my qwizlecards").read_as == "read my qwizzlecards"


def test_words_of_two_texts_and_levels() -> None:
    words = Words.of(["the ordre of the orders", "orders über alles"])
    (orders,) = np.flatnonzero((words.hashes == np.frombuffer(_core.count_words(["orders"])[0], "u1")).all(axis=1))
    own = words.levels[words.levels < 255]
    assert words.levels[orders] == 0 and sorted(own.tolist()) == [0, *[6] * 4]
    assert words.letters.startswith("abc") and words.letters.endswith("'ü")
    assert len(words.hashes) == len(words.levels) > len(own)


def test_what_is_written_in_chats_on_purpose_is_read_as_it_is(routes: SemanticRoutes) -> None:
    for text in ("lol", "thx a lot", "pls help", "btw idk", "brb", "asap"):
        assert routes(text).read_as is None, text
    assert routes("teh pasword").read_as == "the password"


def test_changes_from_many_threads_are_all_made() -> None:
    def slow(texts: list[str]) -> np.ndarray:
        sleep(0.02)
        return np.array([[len(text), text.count("a"), 1.0] for text in texts])

    routes = SemanticRoutes([Route("first", ["a banana"])], CallableEncoder(slow, "slow", 3))
    names = [f"route {at}" for at in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: routes.add(Route(name, [name * 3])), names))
    assert sorted(route.name for route in routes.routes) == ["first", *names]


def test_what_was_counted_for_a_rate_stays_when_routes_change() -> None:
    limited = Route("limited", ["help me"], conditions={"rate": {"requests": 1, "seconds": 60}})
    routes = SemanticRoutes([limited, Route("other", ["something else"])])
    assert routes("help me", now=0.0).name == "limited"
    routes.add(Route("third", ["will it rain"]))
    assert routes("help me", now=1.0).name != "limited"
    routes.update(replace(limited, priority=3))
    assert routes("help me", now=2.0).name != "limited"
    assert routes("help me", now=61.0).name == "limited"


def test_users_who_never_come_again_are_forgotten() -> None:
    limited = Route("limited", ["help me"], conditions={"rate": {"requests": 1, "seconds": 60}})
    routes = SemanticRoutes([limited, Route("other", ["something else"])])
    for at in range(3000):
        assert routes("help me", now=at * 10.0, user=User(str(at))).name == "limited"
    assert len(routes._state.windows["limited"].times) < 1500


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("threshold", "0.5"),
        ("threshold", float("nan")),
        ("threshold", True),
        ("priority", 2**70),
        ("description", 5),
        ("target", object()),
        ("target", {"cost": float("inf")}),
        ("metadata", {1, 2}),
        ("utterances", ["\ud800"]),
        ("conditions", {}),
        ("conditions", []),
        ("conditions", {"tier": ["a"], "language": ["de"]}),
        ("conditions", {"tier": "free"}),
        ("conditions", {"any": [{"keywords": [5]}]}),
        ("conditions", {"not": {"time": "noon"}}),
        ("conditions", {"time": {"from": "09:00", "to": "17:00", "zone": 5}}),
        ("conditions", {"time": {"from": "09:00", "to": "17:00", "zone": "+99:00"}}),
        ("conditions", {"rate": {"requests": 1, "seconds": float("nan")}}),
    ],
)
def test_a_route_s_field_that_no_artifact_can_hold_is_named(field: str, wrong: Any) -> None:
    with pytest.raises((OptionError, ArtifactError)) as found:
        Route("a", **{"utterances": ["x"], field: wrong})
    assert found.value.field.startswith(f"routes[a].{field}")


@pytest.mark.parametrize(
    "now", [float("nan"), float("inf"), 1e20, -1e12, "2026-01-01", True, datetime(2026, 1, 1)]
)
def test_what_is_no_moment_is_refused(now: Any) -> None:
    routes = SemanticRoutes([Route("a", ["x"], conditions={"rate": {"requests": 2, "seconds": 60}})])
    with pytest.raises(RequestError, match="now"):
        routes("x", now=now)


def test_options_of_the_wrong_kind_are_named(routes: SemanticRoutes) -> None:
    wrong: list[tuple[str, Any]] = [
        ("false_alarms", float("nan")),
        ("least_confidence", "0.5"),
        ("allowed", "refund"),
        ("exclude", "refund"),
    ]
    for name, value in wrong:
        with pytest.raises(OptionError, match=name):
            routes("refund my order", **{name: value})
    with pytest.raises(RequestError, match="user"):
        routes("refund my order", user="me")  # type: ignore[arg-type]
    for part in ({"tags": "beta"}, {"tier": 5}, {"id": ["x"]}):
        with pytest.raises(OptionError, match="user"):
            User(**part)  # type: ignore[arg-type]
    assert routes("refund my order", least_confidence=np.float32(0.5)).name == "refund"


def test_night_hours_belong_to_the_day_they_begin_on_and_follow_the_clock_of_their_zone() -> None:
    zone = "America/New_York"
    night = {"time": {"from": "22:00", "to": "06:00", "zone": zone, "days": ["fri"]}}
    early = {"time": {"from": "01:30", "to": "02:30", "zone": zone}}

    def given(hours: dict[str, Any], *moment: int) -> bool:
        routes = SemanticRoutes([Route("a", ["reset my password"], conditions=hours), Route("b", ["order"])])
        return routes("reset my password", now=datetime(*moment, tzinfo=UTC)).name == "a"  # type: ignore[misc]

    # Friday 23:00 and Saturday 01:00 by New York's clock, then Saturday 23:00 and Friday 01:00.
    assert given(night, 2026, 3, 7, 4) and given(night, 2026, 3, 7, 6)
    assert not given(night, 2026, 3, 8, 4) and not given(night, 2026, 3, 6, 6)
    # On 8 March 2026 the clock jumps from 02:00 to 03:00; on 1 November it shows 01:00 to 02:00 twice.
    assert given(early, 2026, 3, 8, 6, 45) and not given(early, 2026, 3, 8, 7, 15)
    assert given(early, 2026, 11, 1, 5, 45) and given(early, 2026, 11, 1, 6, 45)
    assert given(early, 2026, 11, 1, 7, 15) and not given(early, 2026, 11, 1, 7, 45)
