"""The chain of deciders: what each step is sure of, what it says where it is not, and what is refused."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from tiny_dancer import (
    CannedAnswer,
    Chain,
    ChainRouter,
    HumanStep,
    JudgeStep,
    LearnedStep,
    MemoryStorage,
    Route,
    Router,
    Rule,
    SemanticRoutes,
    SemanticStep,
    User,
)
from tiny_dancer.errors import ModelError, OptionError, RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tiny_dancer import ChainDecision

REFUND = Route("refund", ["I want my money back", "refund my order", "return this for a refund"], target="billing")
STATUS = Route("status", ["where is my order", "has my parcel shipped", "track my delivery"], target="chain-later")
HOURS = Route("hours", ["when are you open", "what are your opening hours"], target={"answer": "Nine to five."})
LATER = Chain("later", default="logistics")
KNOWN = ("clerk", "billing", "logistics")
NOON = 1_700_000_000.0


def routes(*more: Route) -> SemanticRoutes:
    return SemanticRoutes([REFUND, STATUS, HOURS, *more])


def semantic(confidence: float = 0.7, *more: Route) -> SemanticStep:
    return SemanticStep(routes(*more), confidence, uncalibrated=True)


class Judge:
    """Answers as it is told to, and keeps what it was asked."""

    def __init__(self, said: object) -> None:
        self.said = said
        self.asked: list[tuple[Any, Any]] = []

    async def __call__(self, messages: Sequence[Mapping[str, Any]], schema: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append((messages, schema))
        if isinstance(self.said, float):
            await asyncio.sleep(self.said)
        if isinstance(self.said, Exception):
            raise self.said
        return self.said  # type: ignore[return-value]


def decided(text: str, *, ask: dict[str, Any] | None = None, **steps: Any) -> ChainDecision:
    chain = Chain("triage", **({"default": "clerk"} | steps))
    return ChainRouter([chain, LATER]).route(text, **ask or {})


def test_a_rule_needs_all_it_names_and_one_of_each_list() -> None:
    rule = Rule("vip", tiers=("gold", "silver"), tags=("beta",), headers={"X-Team": "*"})
    ada = User("ada", "silver", ("old", "beta"))
    found = decided("hello", override=[rule], ask={"user": ada, "headers": {"x-team": "a"}})
    assert (found.target, found.step) == ("vip", "override")
    assert found.reason == "override: tier silver, tag beta, header x-team -> vip"
    for user, headers in (
        (None, {"x-team": "a"}),
        (User("ada", "free", ("beta",)), {"x-team": "a"}),
        (User("ada", "gold"), {"x-team": "a"}),
        (ada, {}),
    ):
        assert decided("hello", override=[rule], ask={"user": user, "headers": headers}).target == "clerk"


def test_keywords_are_whole_words_in_any_case() -> None:
    rule = Rule("security", keywords=("data breach", "c++"))
    for text in ("A DATA  breach!", "is it a data\nbreach?", "I write C++."):
        assert decided(text, override=[rule]).target == "security"
    for text in ("metadata breaches", "a data-breach", "c+", "", "C++11"):
        assert decided(text, override=[rule]).target == "clerk"


def test_the_first_rule_wins() -> None:
    rules = [Rule("one", users=("ada",)), Rule("two", keywords=("hello",))]
    assert decided("hello", override=rules, ask={"user": User("ada")}).target == "one"
    assert decided("hello", override=rules, ask={"user": User("bob")}).target == "two"


def test_a_route_decides_from_its_confidence_on() -> None:
    step = semantic()
    found = decided("give me a refund for my order", semantic=step)
    assert (found.target, found.step) == ("billing", "semantic")
    assert found.route is not None and found.route.name == "refund"
    sure = found.route.confidence
    at = decided("give me a refund for my order", semantic=SemanticStep(step.routes, sure, uncalibrated=True))
    assert at.target == "billing"
    above = SemanticStep(step.routes, min(1.0, sure + 1e-4), uncalibrated=True)
    below = decided("give me a refund for my order", semantic=above)
    assert below.step == "default"
    assert below.routed_by[0].why.startswith("refund 0.") and " < " in below.routed_by[0].why


def test_a_route_leads_to_a_chain_or_to_an_answer() -> None:
    found = decided("where is my parcel", semantic=semantic(0.5))
    assert found.target == "logistics"
    assert [(hop.chain, hop.step, hop.chose) for hop in found.routed_by] == [
        ("triage", "semantic", True),
        ("later", "default", True),
    ]
    assert decided("when are you open?", semantic=semantic(0.5)).target == CannedAnswer("Nine to five.")


def test_nothing_uncalibrated_is_believed_unasked() -> None:
    with pytest.raises(OptionError, match=r"not calibrated.*uncalibrated"):
        SemanticStep(routes())
    # Calibration that is lost while it serves is noticed too.
    step = semantic()
    object.__setattr__(step, "uncalibrated", False)
    assert decided("give me a refund", semantic=step).reason == "semantic: not calibrated; default: clerk"


def test_conditions_of_routes_and_the_clock_come_in() -> None:
    night = Route("night", ["is anybody there", "hello at night"], target="guard", conditions={"tier": ["gold"]})
    ask = {"user": User("ada", "gold")}
    assert decided("is anybody there", semantic=semantic(0.5, night), ask=ask).target == "guard"
    assert decided("is anybody there", semantic=semantic(0.5, night)).target != "guard"
    rare = Route("rare", ["is anybody there"], target="guard", conditions={"rate": {"requests": 1, "seconds": 60}})
    router = ChainRouter([Chain("c", semantic=semantic(0.5, rare), default="clerk"), LATER])
    targets = [router.route("is anybody there", now=NOON + at).target for at in (0, 1, 61)]
    assert (targets[0], targets[2]) == ("guard", "guard")
    assert targets[1] != "guard"
    with pytest.raises(RequestError, match="now"):
        router.route("is anybody there")


def test_the_learned_step_decides_within_a_set_of_one() -> None:
    router = Router.load()
    texts = ["What is 2 + 2?", "Hi there!", "Prove that there are infinitely many primes.", "Write a haiku."]
    seen = set()
    for text in texts * 2:
        decision = router.route(text)
        found = decided(text, learned=LearnedStep(router))
        assert found.decision is not None and found.decision.prediction_set == decision.prediction_set
        if decision.prediction_set == (decision.model,):
            assert (found.target, found.step) == (decision.model, "learned")
        else:
            assert (found.target, found.step) == ("clerk", "default")
            assert found.routed_by[0].why == f"{decision.model}, but {len(decision.prediction_set)} may be best"
        seen.add(found.step)
    assert router.guarantee is None or all(
        decided(text, learned=LearnedStep(router)).decision.guarantee is None  # type: ignore[union-attr]
        for text in texts
    )
    pinned = decided("Hi!", learned=LearnedStep(router), ask={"exclude": ["strong"]})
    assert pinned.decision is not None and pinned.decision.model == "weak"
    nothing = decided("Hi!", learned=LearnedStep(router), ask={"exclude": ["strong", "weak"]})
    assert nothing.routed_by[0].why.startswith("no model meets the constraints")


def test_a_judge_chooses_among_targets() -> None:
    judge = Judge({"choice": "b"})
    found = decided("hm", judge=JudgeStep(judge, {"a": "about A", "b": "about B"}))
    assert (found.target, found.step, found.reason) == ("b", "judge", "judge: b -> b")
    ((messages, schema),) = judge.asked
    assert "- a: about A" in messages[0]["content"] and messages[1] == {"role": "user", "content": "hm"}
    assert schema["properties"]["choice"]["enum"] == ["a", "b", None]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"choice": None}, "none fits"),
        ({"choice": "c"}, "answered with none of the choices"),
        ({"choice": ["a"]}, "answered with none of the choices"),
        ({}, "answered with none of the choices"),
        (None, "answered with none of the choices"),
        (ModelError("m", "refused: no", "ask another"), "failed: refused: no"),
        (KeyError("x"), "failed: KeyError"),
        (5.0, "timed out after 0.05 s"),
    ],
    ids=str,
)
def test_a_judge_that_does_not_choose_is_passed_over(said: object, why: str) -> None:
    found = decided("hm", judge=JudgeStep(Judge(said), {"a": ""}, timeout=0.05))
    assert (found.target, found.reason) == ("clerk", f"judge: {why}; default: clerk")


def test_a_judge_among_routes_keeps_to_their_conditions() -> None:
    gold = Route("gold", ["talk to my advisor"], target="advisor", conditions={"tier": ["gold"]})
    steps = {"semantic": semantic(1.0, gold), "judge": JudgeStep(Judge({"choice": "gold"}))}
    assert decided("hm", **steps, ask={"user": User("ada", "gold")}).target == "advisor"
    refused = decided("hm", **steps)
    assert refused.target == "clerk"
    assert refused.routed_by[1].why == "gold, which may not be given now"


def test_a_judge_reads_the_ends_of_a_long_text() -> None:
    judge = Judge({"choice": "a"})
    decided("x" * 50_000 + " the end", judge=JudgeStep(judge, {"a": ""}))
    said = judge.asked[0][0][1]["content"]
    assert len(said) < 9_000 and said.endswith(" the end")


def answer_when_it_comes(queue: MemoryStorage, text: str) -> threading.Thread:
    def answer() -> None:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if found := queue.queued_requests():
                queue.claim_request(found[0].id, "ann")
                queue.answer_request(found[0].id, "ann", text)
                return
            time.sleep(0.01)

    thread = threading.Thread(target=answer)
    thread.start()
    return thread


def test_a_person_answers_while_the_chain_waits() -> None:
    queue = MemoryStorage()
    thread = answer_when_it_comes(queue, "It is 42.")
    found = decided("hm", override=[Rule("x", users=("x",))], human=HumanStep(queue, wait=20.0))
    thread.join()
    assert (found.target, found.step) == (CannedAnswer("It is 42."), "human")
    (kept,) = queue.queued_requests(states=None)
    assert found.queued == kept.id
    assert (kept.chain, kept.said, kept.hops) == ("triage", "hm", "override: no rule of 1 matches")
    assert json.loads(kept.context) == {"messages": [{"role": "user", "content": "hm"}]}


def test_without_an_answer_the_chain_goes_on_and_the_request_stays() -> None:
    queue = MemoryStorage()
    for wait in (0.0, 0.01):
        found = decided("hm", human=HumanStep(queue, wait=wait))
        assert found.target == "clerk" and found.queued is not None
        assert found.queued in found.reason
    assert len(queue.queued_requests()) == 2


def test_what_cannot_be_queued_is_passed_over() -> None:
    queue = MemoryStorage()
    decided("hm", human=HumanStep(queue, most=1))
    assert decided("hm", human=HumanStep(queue, most=1)).reason == "human: 1 wait already; default: clerk"
    long = decided("x" * (2**20 + 1), human=HumanStep(queue))
    assert long.routed_by[0].why.startswith("not queued: ")
    queue.close()
    assert decided("hm", human=HumanStep(queue)).routed_by[0].why == "not queued: closed"


def test_a_request_is_queued_once_however_many_chains_ask() -> None:
    queue = MemoryStorage()
    outer = Chain("outer", human=HumanStep(queue), default="chain-inner")
    inner = Chain("inner", human=HumanStep(queue), default="clerk")
    found = ChainRouter([outer, inner]).route("hm")
    assert len(queue.queued_requests()) == 1
    assert found.routed_by[2].why == f"in the queue already as {found.queued}"


def test_who_no_longer_waits_takes_the_request_out() -> None:
    queue = MemoryStorage()
    router = ChainRouter([Chain("c", human=HumanStep(queue, wait=60.0), default="clerk")])

    async def leave() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(router.aroute("hm"), 0.1)

    asyncio.run(leave())
    assert [each.state(time.time()) for each in queue.queued_requests(states=None)] == ["cancelled"]


def test_without_text_only_who_needs_none_is_asked() -> None:
    queue = MemoryStorage()
    picture = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]
    chain = Chain(
        "c",
        override=[Rule("x", keywords=("x",))],
        semantic=semantic(),
        learned=LearnedStep(Router.load()),
        judge=JudgeStep(Judge({"choice": "a"}), {"a": ""}),
        human=HumanStep(queue),
        default="clerk",
    )
    found = ChainRouter([chain, LATER]).route(picture)
    assert [(hop.step, hop.why) for hop in found.routed_by[:4]] == [
        ("override", "no rule of 1 matches"),
        ("semantic", "no text"),
        ("learned", "no text"),
        ("judge", "no text"),
    ]
    assert found.queued is not None


def test_the_last_turn_of_a_conversation_is_what_is_routed() -> None:
    said = [
        {"role": "user", "content": "where is my order"},
        {"role": "assistant", "content": "On its way."},
        {"role": "user", "content": "then refund my order please, I want my money back"},
    ]
    router = ChainRouter([Chain("c", semantic=semantic(0.5), default="clerk"), LATER])
    assert router.route(said).target == "billing"


def test_pinned_by_the_caller() -> None:
    router = ChainRouter(
        [Chain("c", semantic=semantic(), default="clerk"), LATER], targets=["clerk", "billing", "logistics"]
    )
    found = router.route("where is my order", pin="clerk")
    assert (found.target, found.step, found.reason) == (
        "clerk",
        "override",
        "override: pinned by the caller -> clerk",
    )
    assert router.route("x", pin="chain-later").target == "logistics"
    with pytest.raises(OptionError, match="pin"):
        router.route("x", pin="nobody")


def test_async_and_sync_agree() -> None:
    router = ChainRouter([Chain("c", semantic=semantic(), default="clerk"), LATER])
    for text in ("refund my order", "where is my parcel?", "xyzzy"):
        there = asyncio.run(router.aroute(text))
        here = router.route(text)
        assert (there.target, there.routed_by) == (here.target, here.routed_by)


def test_within_a_loop_a_chain_that_waits_says_what_to_call() -> None:
    router = ChainRouter([Chain("c", judge=JudgeStep(Judge({"choice": "a"}), {"a": ""}), default="clerk")])

    async def call() -> None:
        with pytest.raises(RequestError, match="aroute"):
            router.route("hm")
        assert (await router.aroute("hm")).target == "a"

    asyncio.run(call())


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: ChainRouter([]), r"^chains: none"),
        (lambda: ChainRouter([LATER, LATER]), r"^chains: later; two chains"),
        (lambda: Chain("c"), r"^chains\[c\]\.default: none"),
        (lambda: Chain(" ", default="m"), r"^name"),
        (lambda: ChainRouter([Chain("c", default="chain-x")]), r"^chains\[c\]\.default: chain-x; no such chain"),
        (
            lambda: ChainRouter([Chain("c", default="m")], targets=["n"]),
            r"^chains\[c\]\.default: m; no such target",
        ),
        (lambda: ChainRouter([Chain("c", default=3)]), r"^chains\[c\]\.default: 3"),  # type: ignore[arg-type]
        (
            lambda: ChainRouter([Chain("c", semantic=semantic(), default="m"), LATER], targets=["m", "logistics"]),
            r"^chains\[c\]\.routes\[refund\]\.target: billing",
        ),
        (
            lambda: ChainRouter([Chain("c", override=[Rule("chain-x", users=("a",))], default="m")]),
            r"^chains\[c\]\.override\[0\]\.target",
        ),
        (
            lambda: ChainRouter([Chain("c", learned=LearnedStep(Router.load()), default="m")], targets=["m"]),
            r"^chains\[c\]\.learned\.models\[",
        ),
        (
            lambda: ChainRouter([Chain("c", judge=JudgeStep(Judge(1), {"x": ""}), default="m")], targets=["m"]),
            r"^chains\[c\]\.judge\.choices\[x\]",
        ),
        (
            lambda: ChainRouter([Chain("a", default="chain-b"), Chain("b", default="chain-a")]),
            r"^chains: a -> b -> a; .*circle",
        ),
        (lambda: ChainRouter([Chain("a", default="chain-a")]), r"^chains: a -> a"),
        (
            lambda: ChainRouter(
                [
                    Chain("c", semantic=semantic(), default="m"),
                    Chain("later", override=[Rule("chain-c", tags=("t",))], default="m"),
                ]
            ),
            r"^chains: .*circle",
        ),
        (lambda: Chain("c", judge=JudgeStep(Judge(1)), default="m"), r"^chains\[c\]\.judge\.choices: none"),
        (lambda: JudgeStep(Judge(1), {}), r"^choices: none"),
        (lambda: JudgeStep(Judge(1), {"a": ""}, timeout=0), r"^timeout"),
        (lambda: SemanticStep(routes(), 1.01, uncalibrated=True), r"^confidence"),
        (lambda: SemanticStep(routes(), float("nan"), uncalibrated=True), r"^confidence"),
        (lambda: HumanStep(MemoryStorage(), wait=-1), r"^wait"),
        (lambda: HumanStep(MemoryStorage(), wait=float("nan")), r"^wait"),
        (lambda: HumanStep(MemoryStorage(), wait=10, expires=5), r"^expires"),
        (lambda: HumanStep(MemoryStorage(), most=0), r"^most"),
        (lambda: Rule("m"), r"^rule: without a condition"),
        (lambda: Rule("m", keywords="breach"), r"^keywords"),  # type: ignore[arg-type]
        (lambda: Rule("m", tags=("",)), r"^tags"),
        (lambda: Rule("m", headers={"a": 3}), r"^headers"),  # type: ignore[dict-item]
        (lambda: CannedAnswer(" "), r"^answer"),
    ],
)
def test_what_cannot_be_a_chain_is_refused_with_its_remedy(make: Any, named: str) -> None:
    with pytest.raises(OptionError, match=named) as refused:
        make()
    assert refused.value.remedy


def test_a_route_that_is_added_later_and_leads_nowhere_is_passed_over() -> None:
    step = semantic(0.5)
    router = ChainRouter(
        [Chain("c", semantic=step, default="clerk"), LATER], targets=["clerk", "billing", "logistics"]
    )
    step.routes.update(Route("refund", REFUND.utterances, target="nobody"))
    assert router.route("refund my order").reason.startswith("semantic: refund 0.")
    assert "-> nobody: no such target" in router.route("refund my order").reason
    step.routes.update(Route("refund", REFUND.utterances, target="chain-c"))
    assert "-> chain-c: it leads back" in router.route("refund my order").reason
    step.routes.update(Route("refund", REFUND.utterances, target={"url": "x"}))
    assert "whose target is neither" in router.route("refund my order").reason
    step.routes.update(Route("refund", REFUND.utterances))
    assert "which leads nowhere" in router.route("refund my order").reason
