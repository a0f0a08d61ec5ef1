"""Walks a chain of deciders: each step says where a request goes or passes on; the first that says decides.

What a step is made of is its owner's: the library's steps are in :mod:`.chain`, a gateway has its own. The walk is
a coroutine that waits for nothing unless a step does: whoever has no step that waits runs it without a loop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar, cast

from tiny_dancer.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["CannedAnswer", "Hop", "Link", "Outcome", "Walked", "as_target", "find_cycle", "in_words", "walk"]

T = TypeVar("T")

CHAIN: Final = "chain-"
"""What the name of a chain begins with where it is a target."""


@dataclass(frozen=True, slots=True)
class CannedAnswer:
    """A target that is the answer itself: no model is asked.

    Attributes:
        text: of the answer.
    """

    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not self.text.strip():
            raise OptionError("answer", repr(self.text), "give the text of the answer")


class Hop(NamedTuple):
    """What one step of a chain said.

    Attributes:
        chain: its chain.
        step: ``override``, ``semantic``, ``learned``, ``judge``, ``human`` or ``default``.
        chose: whether it decided; else it passed on.
        why: in words.
    """

    chain: str
    step: str
    chose: bool
    why: str

    def __str__(self) -> str:
        return f"{self.step}: {self.why}"


class Outcome(NamedTuple):
    """What a step found.

    Attributes:
        target: a name, a canned answer, or None: it passes on.
        why: in words.
        detail: what it is known by, for whoever walks.
        intent: the route that leads to the target; empty where none does.
    """

    target: str | CannedAnswer | None
    why: str
    detail: Any = None
    intent: str = ""


Step = tuple[str, "Callable[[T], Outcome | Awaitable[Outcome]]"]


@dataclass(frozen=True, slots=True)
class Link(Generic[T]):
    """A chain as it is walked.

    Attributes:
        name: of the chain.
        steps: their names, and what asks each.
        default: where what no step decides goes.
    """

    name: str
    steps: Sequence[Step[T]]
    default: str | CannedAnswer


class Walked(NamedTuple):
    """Where a walk ended.

    Attributes:
        target: a name that is no chain's, or a canned answer.
        hops: every step asked, in order.
        details: what the steps asked have left, by step; of a step asked in several chains the last.
        intent: the last route that was followed; empty where none was.
    """

    target: str | CannedAnswer
    hops: tuple[Hop, ...]
    details: Mapping[str, Any]
    intent: str = ""


async def walk(
    links: Mapping[str, Link[T]],
    start: str,
    request: T,
    refuses: Callable[[str | CannedAnswer], str | None],
    hops: list[Hop] | None = None,
    leads: Callable[[object], str | None] | None = None,
) -> Walked:
    """Asks step by step; a target that is a chain is walked on into.

    Args:
        links: chains by name.
        start: the chain to begin with.
        request: handed to every step.
        refuses: why a step's target cannot be, in words; None where it can. Such a step passes on. It is not asked
            about defaults, behind which nothing comes.
        hops: filled in as they happen, for steps that want to know.
        leads: the chain that a target leads to, None where it leads to none; by default as :func:`chain_of`.
    """
    hops = [] if hops is None else hops
    leads = leads or chain_of
    details: dict[str, Any] = {}
    link, seen = links[start], {start}
    intent = ""
    while True:
        target, decided = link.default, "default"
        for step, ask in link.steps:
            found = ask(request)
            if not isinstance(found, Outcome):
                found = await found
            if found.detail is not None:
                details[step] = found.detail
            if found.target is None:
                hops.append(Hop(link.name, step, False, found.why))
                continue
            refused = _leads_back(leads(found.target), seen) or refuses(found.target)
            if refused is not None:
                hops.append(Hop(link.name, step, False, f"{found.why} -> {shown(found.target)}: {refused}"))
                continue
            target, decided = found.target, step
            intent = found.intent or intent
            hops.append(Hop(link.name, step, True, f"{found.why} -> {shown(target)}"))
            break
        if decided == "default":
            hops.append(Hop(link.name, "default", True, shown(target)))
        name = leads(target)
        if name is None:
            return Walked(target, tuple(hops), details, intent)
        link = links[name]
        seen.add(name)


def at_once(walking: Coroutine[Any, Any, T]) -> T:
    """The result of a walk none of whose steps waits."""
    try:
        walking.send(None)
    except StopIteration as end:
        return cast("T", end.value)
    finally:
        walking.close()
    raise AssertionError("a step waited")


def in_words(hops: Sequence[Hop]) -> str:
    """All hops in one line: ``semantic: refund 0.412 < 0.7; default: gpt-4o-mini``; those of a chain that was led
    to have its name before them."""
    return "; ".join(str(hop) if hop.chain == hops[0].chain else f"{hop.chain}/{hop}" for hop in hops)


def shown(target: str | CannedAnswer) -> str:
    """A target in words."""
    return target if isinstance(target, str) else "an answer"


def chain_of(target: object) -> str | None:
    """The chain that a target names; None where it names none."""
    return target[len(CHAIN) :] if isinstance(target, str) and target.startswith(CHAIN) else None


def as_target(value: object, field: str) -> str | CannedAnswer:
    """A target as callers and files write it: a name, or ``{"answer": text}``.

    Raises:
        OptionError: it is neither.
    """
    if isinstance(value, CannedAnswer):
        return value
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, Mapping) and set(value) == {"answer"}:
        try:
            return CannedAnswer(value["answer"])
        except OptionError as error:
            raise OptionError(f"{field}.answer", error.value, error.remedy) from None
    raise OptionError(field, repr(value), "give a name, or {answer: text}")


def find_cycle(leads: Mapping[str, Sequence[str]]) -> list[str] | None:
    """Chains that lead back to their beginning, in order; None where none does.

    Args:
        leads: by chain, the chains its targets name. Those that are not there themselves lead nowhere.
    """
    known = {name: [each for each in following if each in leads] for name, following in leads.items()}
    try:
        TopologicalSorter(known).prepare()
    except CycleError as error:
        cycle: list[str] = error.args[1]
        return cycle[::-1]  # it names before each what leads there
    return None


def _leads_back(chain: str | None, seen: set[str]) -> str | None:
    return "it leads back" if chain in seen else None
