"""Conversations: which model has one in its prompt cache, and what leaving it would cost.

Upstreams keep the prompt of a conversation for some minutes and charge a fraction for reading it again. A router
that sends the next turn elsewhere pays the whole prefix anew. That price belongs in the choice: the policy's value
of a model is quality − λ · cost, and the cost of a model that has the prefix is lower by
tokens · (price − price of a cached token). A threshold t on the gain between two models says the same with
λ = t / (difference of their costs).

How long the prefix is, the upstream said (its tokens of the last prompt and answer); how long this prompt is, the
engine expects (its word pieces). What can be cached is the shorter of the two: a prompt that was cut, another
conversation that began alike, thoughts that are not sent again and tokens counted differently never save more than
reading this prompt was expected to cost.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, field

from tiny_dancer.storage import hash_query

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from tiny_dancer.gateway.configuration.settings import Sessions
    from tiny_dancer.gateway.upstream.deployments import ServedModel
    from tiny_dancer.types import Decision


class Cached(Struct, frozen=True):
    """A prefix in one model's cache.

    Attributes:
        tokens: of prompt and answer, with which the next prompt usually begins.
        time: seconds of the monotonic clock when it was last read.
    """

    tokens: int
    time: float


class Session(Struct):
    """One conversation.

    Attributes:
        model: that answered last.
        caches: by model.
        said: hash of what the user said last; empty where nobody will ask.
    """

    model: str = ""
    caches: dict[str, Cached] = field(default_factory=dict)
    said: str = ""


class SessionTable:
    """Conversations by key, the least recently used forgotten first. Belongs to the event loop's thread."""

    def __init__(self, settings: Sessions) -> None:
        self.settings = settings
        self._sessions: OrderedDict[Hashable, Session] = OrderedDict()

    def find(self, key: Hashable) -> Session | None:
        """The conversation of this key, if it is remembered."""
        return self._sessions.get(key)

    def answered(self, key: Hashable, model: str, tokens: int, said: str, now: float) -> None:
        """Remembers which model answered, and how long the prefix is now."""
        session = self._sessions.get(key)
        if session is None:
            session = self._sessions[key] = Session()
            if len(self._sessions) > self.settings.remembered:
                self._sessions.popitem(last=False)
        else:
            self._sessions.move_to_end(key)
        session.model = model
        session.said = _hashed(said) if self.settings.escalate else ""
        session.caches[model] = Cached(tokens, now)

    def __len__(self) -> int:
        return len(self._sessions)


def key_of(caller: str, named: str | None, messages: Sequence[Mapping[str, Any]]) -> Hashable:
    """What tells conversations apart: the name the client gives, or else how the conversation began.

    Keys stay in this process, so Python's own hash of a text, salted per process, will do; the texts themselves,
    which may be long, are not kept.
    """
    if named is not None:
        return caller, "named", hash(named)
    begun = []
    for message in messages:
        begun.append(str(message.get("content")))
        if message.get("role") == "user":
            break
    return caller, hash(tuple(begun))


def worth_staying(
    decision: Decision,
    stay: ServedModel,
    leave: ServedModel,
    cached: Cached,
    weight: float,
    left: Cached | None = None,
) -> bool:
    """Whether quality − weight · cost of staying is at least that of leaving, cached prefixes counted.

    Args:
        decision: with expected quality and cost of both.
        stay: the model that has the conversation in its cache.
        leave: the model that was decided on.
        cached: the prefix that ``stay`` has.
        weight: λ, quality worth one USD.
        left: the prefix that ``leave`` still has from earlier turns.

    Returns:
        False where staying saves nothing, the prompt is too long for it, or something has no price.
    """
    if decision.costs is None or stay.cached_discount() <= 0:
        return False
    staying, leaving = decision.costs.get(stay.name), decision.costs.get(leave.name)
    if staying is None or leaving is None:
        return False
    tokens = _prompt_tokens(stay, staying)
    window = stay.settings.context_window
    if window is not None and tokens + stay.settings.expected_output_tokens > window:
        return False
    staying -= min(cached.tokens, tokens) * stay.cached_discount()
    if left is not None and leave.cached_discount() > 0:
        leaving -= min(left.tokens, _prompt_tokens(leave, leaving)) * leave.cached_discount()
    return decision.scores[stay.name] - decision.scores[leave.name] >= weight * (staying - leaving)


def _prompt_tokens(model: ServedModel, cost: float) -> float:
    """Tokens the engine took the prompt to have, out of what it expects a model that reads at a price to cost."""
    settings = model.settings
    price = settings.input_cost_per_token
    assert price is not None  # or there were no discount
    written = settings.expected_output_tokens * (settings.output_cost_per_token or 0.0)
    return max(cost - written - (settings.cost_per_request or 0.0), 0.0) / price


def quality_per_dollar(
    policy: Mapping[str, Any], models: Sequence[str], decision: Decision, threshold: float | None, scale: float
) -> float:
    """λ of a router's policy: quality worth one USD.

    Args:
        policy: of the artifact's header.
        models: in the artifact's order.
        decision: whose expected costs turn a threshold into a weight.
        threshold: in place of the artifact's.
        scale: of the policy that was asked for.

    Returns:
        0 where the policy does not weigh cost; NaN where it cannot be told.
    """
    if policy["kind"] == "cost_weight":
        return float(policy["cost_weight"]) * scale if policy.get("unit", "usd") == "usd" else math.nan
    if policy["kind"] != "threshold" or decision.costs is None:
        return math.nan
    weak, strong = (decision.costs.get(models[policy[side]]) for side in ("weak", "strong"))
    if weak is None or strong is None or strong <= weak:
        return math.nan
    asked = float(policy["threshold"]) * scale if threshold is None else threshold
    return max(asked, 0.0) / (strong - weak)


_COMPLAINT: Final = re.compile(
    r"\b(wrong|incorrect|not (right|correct|what i)|does(n't| not) work|still (fails|broken|not)|try again|"
    r"that('s| is) not|no[,!.] |you (missed|forgot|misunderstood))",
    re.IGNORECASE,
)


def unhappy(said: str, before: str) -> bool:
    """Whether the user repeats the last question, or complains in few (English) words.

    Args:
        said: by the user now.
        before: :attr:`Session.said`; empty where nothing was said before.
    """
    if not before:
        return False
    return _hashed(said) == before or (len(said) < 400 and _COMPLAINT.search(said) is not None)


def _hashed(said: str) -> str:
    """Equal for texts that differ in case and spaces only."""
    return hash_query(" ".join(said.casefold().split()))
