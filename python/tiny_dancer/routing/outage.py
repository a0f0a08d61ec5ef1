"""Choosing a model while the learned policy cannot: by constraints and prices, which need no weights."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tiny_dancer import _core
from tiny_dancer.errors import OptionError, RequestError
from tiny_dancer.resilience import BAD_INPUT, BUGS, FAILURES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tiny_dancer.resilience import Bugs
    from tiny_dancer.routing.router import Router
    from tiny_dancer.types import FeatureTable


class Query:
    """One request as the fallback levels read it, featurised once and only if asked."""

    def __init__(self, request: _core.Said, tools: _core.Json | None, said: str, bugs: Bugs) -> None:
        """``request`` and ``tools`` as the engine takes them, what the user said last, and who is told of bugs.

        Raises:
            RequestError: there is nothing to route. (What is not Unicode is found when featurised.)
        """
        if not said.strip() and isinstance(request, str):
            raise RequestError("request", "empty", "give a text, or messages with some")
        self._given = (request, tools)
        self._bugs = bugs
        self.characters = len(request) + len(tools or "")

    @cached_property
    def features(self) -> FeatureTable:
        """Features of the one request.

        Raises:
            RequestError: it cannot be featurised because of what it holds.
        """
        request, tools = self._given
        return _core.featurise([request], [tools])

    @cached_property
    def tokens(self) -> int | None:
        """Word pieces of the request, or None where even featurising fails."""
        try:
            return int(self.features.tokens[0])
        except BAD_INPUT:
            raise
        except FAILURES as error:
            if isinstance(error, BUGS):
                self._bugs.saw(error)
            return None


class Left:
    """The models that the constraints of one request leave, and what they are expected to cost.

    Attributes:
        models: in the artifact's order.
        removed: the option that removed each other model.
    """

    def __init__(
        self,
        models: tuple[str, ...],
        costs: Mapping[str, float | None] | None,
        removed: Mapping[str, str] | None,
    ) -> None:
        self.models = models
        self._costs = costs or {}
        self.removed = removed or {}

    def price(self, name: str) -> float:
        """USD; negative infinity where unknown, so that what is priced counts as dearer."""
        cost = self._costs.get(name)
        return -math.inf if cost is None else cost


class ModelTable:
    """The models of an artifact, and what is known of them without its weights."""

    def __init__(self, header: Mapping[str, Any], default: str | None) -> None:
        """From a request router's header, with the caller's names and prices.

        Args:
            header: see :attr:`tiny_dancer.Router.header`.
            default: the model of the last level; the best constant one where None.

        Raises:
            OptionError: ``default`` is none of the models.
        """
        models: list[Mapping[str, Any]] = header["models"]
        self.names: tuple[str, ...] = tuple(model["name"] for model in models)
        if default is not None and default not in self.names:
            raise OptionError("default_model", repr(default), f"the models are {', '.join(self.names)}")
        self.default = self.names[header["best_constant"]] if default is None else default
        policy = header["policy"]
        self._weak = self.names[policy["weak"]] if policy["kind"] == "threshold" else None
        self._cleared = frozenset(model["name"] for model in models if model["cleared"])

    def left(self, router: Router, query: Query, options: _core.Options | None) -> Left:
        """What the constraints leave.

        Expected cost and latency are the engine's, but without what is expected of the answer's length. Where the
        tokens are not known, a limit on them counts every character as one: a limit on cost is kept rather than
        used up; a context window is not judged. ``min_quality`` removes nothing: without the learned policy
        nothing is expected of quality.

        Raises:
            OptionError: an unknown model, a number outside its range, or one that needs a price or latency nobody
                gave.
            NoFeasibleModelError: nothing is left; it lists what removed which model.
        """
        return Left(*router.outlook(query.tokens, query.characters, options))

    def strong(self, left: Left) -> str:
        """The default model where it is left, else the dearest that is: price is all there is to go by."""
        return self.default if self.default in left.models else max(left.models, key=left.price)

    def light(self, left: Left) -> str | None:
        """The weak model of a pair, or the cheapest that is cleared for routing; None where none is known."""
        if self._weak is not None:
            return self._weak if self._weak in left.models else None
        priced = [name for name in left.models if name in self._cleared and left.price(name) > -math.inf]
        return min(priced, key=left.price, default=None)
