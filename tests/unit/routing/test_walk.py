"""Walking a chain: each step is asked in order and said once, and the first that is sure decides."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_dancer.errors import OptionError
from tiny_dancer.routing.walk import (
    CannedAnswer,
    Hop,
    Link,
    Outcome,
    as_target,
    at_once,
    chain_of,
    find_cycle,
    in_words,
    walk,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

STEPS = ("override", "semantic", "learned", "judge", "human")
REFUSED = "forbidden"
NAMES = ("a", "b", "c")


@dataclass
class Request:
    asked: list[str]


def may(target: str | CannedAnswer) -> str | None:
    return "not for you" if target == REFUSED else None


@st.composite
def chains(draw: st.DrawFn) -> dict[str, list[tuple[str, str | None]]]:
    """By name, what each step says (None: it passes on), the default last. Later chains alone are led to."""
    found = {}
    for place, name in enumerate(NAMES):
        targets = ["m", "n", REFUSED, *(f"chain-{later}" for later in NAMES[place + 1 :])]
        steps = draw(
            st.lists(st.sampled_from(STEPS), unique=True, max_size=5).map(lambda s: sorted(s, key=STEPS.index))
        )
        said = [(step, draw(st.sampled_from([None, None, *targets]))) for step in steps]
        ends = [each for each in targets if each != REFUSED]
        found[name] = [*said, ("default", draw(st.sampled_from(ends)))]
    return found


def links(said: Mapping[str, list[tuple[str, str | None]]], *, waits: bool) -> dict[str, Link[Request]]:
    def link(name: str) -> Link[Request]:
        def step(place: str, target: str | None):  # type: ignore[no-untyped-def]
            def ask(request: Request) -> Outcome:
                request.asked.append(f"{name}/{place}")
                return Outcome(target, f"said by {place}", detail=f"{name}/{place}")

            async def ask_later(request: Request) -> Outcome:
                await asyncio.sleep(0)
                return ask(request)

            return place, ask_later if waits else ask

        *steps, (_, default) = said[name]
        assert default is not None
        return Link(name, [step(place, target) for place, target in steps], default)

    return {name: link(name) for name in said}


def expected(
    said: Mapping[str, list[tuple[str, str | None]]], name: str
) -> tuple[str, list[tuple[str, str, bool]]]:
    """Where it ends, and who is asked, written down anew."""
    hops = []
    for step, target in said[name]:
        sure = target is not None and (target != REFUSED or step == "default")
        hops.append((name, step, sure))
        if sure:
            assert target is not None
            if target.startswith("chain-"):
                end, further = expected(said, target.removeprefix("chain-"))
                return end, hops + further
            return target, hops
    raise AssertionError


@given(said=chains(), waits=st.booleans())
def test_the_first_that_is_sure_decides_and_each_hop_is_said_once(
    said: dict[str, list[tuple[str, str | None]]], waits: bool
) -> None:
    request = Request([])
    walking = walk(links(said, waits=waits), "a", request, may)
    found = asyncio.run(walking) if waits else at_once(walking)
    end, hops = expected(said, "a")
    assert found.target == end
    assert [(hop.chain, hop.step, hop.chose) for hop in found.hops] == hops
    # Asked is who is said to have been, once, and nobody behind the one that decided.
    assert request.asked == [f"{chain}/{step}" for chain, step, _ in hops if step != "default"]
    assert len(set(request.asked)) == len(request.asked)
    for hop in found.hops:
        assert hop.why
        assert hop.chose == ((" -> " in hop.why and "not for you" not in hop.why) or hop.step == "default")
    for step, detail in found.details.items():
        assert detail == [each for each in request.asked if each.endswith(f"/{step}")][-1]


@given(said=chains())
def test_a_step_may_read_the_hops_so_far(said: dict[str, list[tuple[str, str | None]]]) -> None:
    hops: list[Hop] = []
    found = at_once(walk(links(said, waits=False), "a", Request([]), may, hops))
    assert tuple(hops) == found.hops


def test_a_target_that_leads_back_is_passed_over() -> None:
    back: Link[Request] = Link("b", [("override", lambda _: Outcome("chain-a", "rule"))], "m")
    forth: Link[Request] = Link("a", [("override", lambda _: Outcome("chain-b", "rule"))], "m")
    found = at_once(walk({"a": forth, "b": back}, "a", Request([]), may))
    assert found.target == "m"
    assert in_words(found.hops) == (
        "override: rule -> chain-b; b/override: rule -> chain-a: it leads back; b/default: m"
    )


@given(
    st.dictionaries(
        st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdefg"), max_size=3), min_size=1, max_size=6
    )
)
def test_circles_are_found_where_there_are_any(leads: dict[str, list[str]]) -> None:
    found = find_cycle(leads)

    def reach(name: str) -> set[str]:
        seen: set[str] = set()
        waiting = list(leads.get(name, ()))
        while waiting:
            each = waiting.pop()
            if each not in seen:
                seen.add(each)
                waiting += leads.get(each, ())
        return seen

    assert (found is not None) == any(name in reach(name) for name in leads)
    if found is not None:
        assert found[0] == found[-1]
        assert all(later in leads[name] for name, later in pairwise(found))


def test_targets_as_they_are_written() -> None:
    assert as_target("m", "t") == "m"
    assert as_target({"answer": "9 to 5."}, "t") == CannedAnswer("9 to 5.")
    assert chain_of("chain-a") == "a"
    assert chain_of("m") is None
    assert chain_of(CannedAnswer("chain-a")) is None
    for wrong in ("", " ", None, 3, {}, {"answer": ""}, {"answer": 3}, {"answer": "x", "more": 1}, ["m"]):
        with pytest.raises(OptionError, match=r"^t"):
            as_target(wrong, "t")
