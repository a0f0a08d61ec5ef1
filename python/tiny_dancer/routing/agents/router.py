"""Choices among the agents of a registry: one for a request, several, and a batch at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias

import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import NoFeasibleModelError, NoSuitableAgentError, OptionError
from tiny_dancer.routing.agents.batches import AgentAssignment, assign
from tiny_dancer.routing.agents.held_out import HeldOut
from tiny_dancer.routing.agents.plans import AgentPlan, AgentStep, error_correlation, plan_reason
from tiny_dancer.routing.requests import as_engine, listed_requests
from tiny_dancer.storage.values import number, texts

if TYPE_CHECKING:
    import numpy.typing as npt

    from tiny_dancer._core import AgentChoice
    from tiny_dancer.routing.agents.loads import AgentLoad
    from tiny_dancer.routing.agents.registry import AgentRegistry
    from tiny_dancer.routing.requests import Request
    from tiny_dancer.routing.router import Router
    from tiny_dancer.storage import Outcome

__all__ = ["AgentPolicy", "AgentRouter"]

AgentPolicy: TypeAlias = Literal["cost", "latency", "quality", "balanced", "quality_per_dollar", "weights"]
"""What a choice maximises, each in one unit:

========================  ====================================================================================
``cost``                  -USD: the cheapest of the agents that meet ``min_quality``
``latency``               -seconds: the fastest of them
``quality``               expected quality, from 0 to 1
``balanced``              quality - ``quality_per_usd`` * USD - ``quality_per_second`` * seconds; what is known of
                          nobody that is left does not tell them apart, and is left out
``quality_per_dollar``    quality / USD: wholly good answers a dollar; what costs nothing gives infinitely many
``weights``               the caller's: ``quality`` * quality - ``cost`` * USD - ``latency`` * seconds
========================  ====================================================================================

Else, an agent of which nobody knows what the policy weighs is removed, with ``cost_unknown`` or
``latency_unknown``.
"""

BYTES_PER_TOKEN = 4
"""Of a request whose tokens nobody counted."""

_CACHED = 512  # queries kept ready


class AgentRouter:
    """Chooses among the agents of a registry. Safe to use from many threads.

    Example: see :class:`~tiny_dancer.routing.agents.AgentRegistry`.
    """

    def __init__(
        self,
        registry: AgentRegistry,
        *,
        router: Router | None = None,
        models: Mapping[str, str] | None = None,
        quality_per_usd: float = 10.0,
        quality_per_second: float = 0.01,
    ) -> None:
        """Makes a router.

        Args:
            registry: the agents.
            router: a trained router of requests: where its models are agents, what it expects of them on each
                request counts in place of what the registry believes; of other agents the registry's does.
            models: by agent, the model of ``router`` that it is; by default the one of its name.
            quality_per_usd: of the policy ``balanced``, quality that one USD is worth: 10 says that a wholly good
                answer is worth 10 cents.
            quality_per_second: the same of one second.

        Raises:
            OptionError: ``models`` names an agent or model that is not there, or a weight is negative.
        """
        self.registry = registry
        self._router = router
        self._models: dict[str, str] = {}
        if router is not None:
            known = list(router.models)
            named = {each: each for each in known} if models is None else dict(models)
            for agent, model in named.items():
                if model not in known:
                    raise OptionError("models", model, f"the router's models are {', '.join(known)}")
                if models is not None and agent not in registry:
                    raise OptionError("models", agent, "name agents of the registry")
            self._models = named
        elif models:
            raise OptionError("models", "without router", "give the router whose models they are")
        self._weights = (1.0, number("quality_per_usd", quality_per_usd, error=OptionError),
                         number("quality_per_second", quality_per_second, error=OptionError))  # fmt: skip
        self._queries: dict[Any, _core.AgentQuery] = {}
        self._correlation: tuple[tuple[str, ...], npt.NDArray[np.float64]] | None = None
        self._held_out: HeldOut | None = None
        self._levels: dict[str, float] = {}

    def route(
        self,
        request: Request,
        optimize_for: AgentPolicy = "balanced",
        *,
        required_capabilities: Sequence[str] = (),
        task: str | None = None,
        types: Sequence[str] = (),
        max_cost: float | None = None,
        max_latency_ms: float | None = None,
        min_quality: float | None = None,
        excluded: Sequence[str] = (),
        tags: Sequence[str] = (),
        region: str | None = None,
        budget_remaining: float | None = None,
        weights: Mapping[str, float] | None = None,
        input_tokens: float | None = None,
        output_tokens: float | None = None,
        cached_tokens: float = 0.0,
        level: float = 0.9,
        explore: float | None = None,
        now: float | None = None,
        front: bool = False,
        loads: Mapping[str, AgentLoad] | None = None,
        expected: Mapping[str, float] | None = None,
    ) -> AgentChoice:
        """The agent for a request, with what is expected of it.

        Equal agents are ordered by cost, then quality, then time, then name.

        Args:
            request: a text, or chat messages.
            optimize_for: see :data:`AgentPolicy`.
            required_capabilities: the agent must have them all.
            task: capability or task whose quality counts; else the required capability an agent is worst at.
            types: only agents of these types.
            max_cost: most USD that may be expected.
            max_latency_ms: most milliseconds that may be expected.
            min_quality: what the lower end of the quality's interval must reach (with a trained router, what it
                expects).
            excluded: agents that must not be chosen.
            tags: the agent must have them all.
            region: where it must serve.
            budget_remaining: USD that are left; the upper end of the cost's interval must be within.
            weights: of the policy ``weights``: ``quality``, ``cost`` (a USD) and ``latency`` (a second), 0 where
                left out.
            input_tokens: of the prompt; else guessed, a token for every four bytes.
            output_tokens: of the answer; else each agent's usual number.
            cached_tokens: of the prompt, in the cache of agents that have a price for cached tokens.
            level: share of probability within each interval; bounds are its ends.
            explore: try what is little known: choose by this quantile of quality, above 0.5, instead of its mean
                (Bayes-UCB, Kaufmann, Cappé and Garivier 2012). By default nobody is tried out.
            now: UTC seconds; the present by default.
            front: also name the agents that no other beats in quality, cost and time at once.
            loads: by agent, what it has to do now: one that is at a limit it declares (``max_concurrency``,
                ``requests_per_minute``, ``tokens_per_minute``) is excluded.
            expected: by agent, the quality that a trained router expects on this request, from 0 to 1, where the
                caller has asked one: counts in place of what ``router`` expects.

        Raises:
            NoSuitableAgentError: no agent is left; ``removed`` says what removed each.
            OptionError: a bound that cannot be, or an unknown name; it names the nearest.
            RequestError: the request cannot be read.
        """
        full = _at_limits(self.registry, loads) if loads else {}
        query = self._query(
            optimize_for, required_capabilities, task, types, max_cost, max_latency_ms, min_quality,
            (*excluded, *full) if full else excluded, tags, region, budget_remaining, weights, level, explore,
        )  # fmt: skip
        tokens = _tokens(request) if input_tokens is None else input_tokens
        moment = self.registry.clock() if now is None else now
        qualities: list[tuple[str, float]] | None = None
        if expected is not None:
            qualities = [(name, _quality(name, value)) for name, value in expected.items()]
        elif self._router is not None:
            qualities = self._expected(request)
        try:
            return self.registry.engine.choose(
                query, tokens, moment, output_tokens, cached_tokens, qualities, front
            )
        except NoFeasibleModelError as error:
            removed = self.registry.engine.removed(query, tokens, moment, output_tokens, cached_tokens)
            removed |= {name: limit for name, limit in full.items() if name not in excluded}
            raise NoSuitableAgentError(error.field, error.value, error.remedy, removed) from None
        except TypeError:
            _refuse({"input_tokens": tokens, "output_tokens": output_tokens, "cached_tokens": cached_tokens,
                     "now": moment})  # fmt: skip

    def _query(
        self,
        policy: str,
        required: Sequence[str],
        task: str | None,
        types: Sequence[str],
        max_cost: float | None,
        max_latency_ms: float | None,
        min_quality: float | None,
        excluded: Sequence[str],
        tags: Sequence[str],
        region: str | None,
        budget: float | None,
        weights: Mapping[str, float] | None,
        level: float,
        explore: float | None,
    ) -> _core.AgentQuery:
        try:
            key = (
                policy, tuple(required) if required else (), task, tuple(types) if types else (), max_cost,
                max_latency_ms, min_quality, tuple(excluded) if excluded else (), tuple(tags) if tags else (),
                region, budget, None if weights is None else tuple(weights.items()), level, explore,
            )  # fmt: skip
            found = self._queries.get(key)
        except (TypeError, AttributeError):
            key, found = None, None
        if found is not None:
            return found
        if not isinstance(policy, str):
            raise OptionError("optimize_for", policy, f"use one of {', '.join(_core.AGENT_POLICIES)}")
        bounds = []
        for name, bound in (
            ("max_cost", max_cost),
            ("budget_remaining", budget),
            ("max_latency_ms", max_latency_ms),
        ):
            value = None if bound is None else number(name, bound, error=OptionError)
            if value is not None and value < 0:
                raise OptionError(name, bound, "give a number, 0 or more")
            if name == "max_latency_ms" and value is not None:
                if not value:
                    raise OptionError(name, bound, "give a time above 0: nothing takes none")
                value /= 1000.0
            bounds.append(value)
        for name, said in (("task", task), ("region", region)):
            if said is not None and not isinstance(said, str):
                raise OptionError(name, said, "give a text")
        query = _core.AgentQuery(
            policy,
            self._weighed(policy, weights),
            list(texts("required_capabilities", required)),
            task,
            list(texts("types", types)),
            list(texts("excluded", excluded)),
            list(texts("tags", tags)),
            region,
            (bounds[0], bounds[1], bounds[2]),
            None if min_quality is None else number("min_quality", min_quality, error=OptionError),
            number("level", level, error=OptionError),
            None if explore is None else number("explore", explore, error=OptionError),
        )
        if key is not None:
            if len(self._queries) >= _CACHED:
                self._queries.clear()
            self._queries[key] = query
        return query

    def _weighed(self, policy: str, weights: Mapping[str, float] | None) -> tuple[float, float, float]:
        if policy != "weights":
            if weights is not None:
                raise OptionError("weights", f"beside {policy}", "set optimize_for='weights'")
            return self._weights
        if not isinstance(weights, Mapping):
            raise OptionError("weights", weights, "give {'quality': ..., 'cost': a USD, 'latency': a second}")
        unknown = [name for name in weights if name not in ("quality", "cost", "latency")]
        if unknown:
            raise OptionError("weights", unknown[0], "the weights are quality, cost and latency")
        quality, cost, latency = (
            number(f"weights.{name}", weights.get(name, 0.0), error=OptionError)
            for name in ("quality", "cost", "latency")
        )
        return quality, cost, latency

    def _expected(self, request: Request) -> list[tuple[str, float]]:
        """What the trained router expects of the agents that are its models."""
        assert self._router is not None
        scores, levels = self._router.route(request).scores, self._levels
        return [
            (agent, min(max(float(scores[model]) + levels.get(agent, 0.0), 0.0), 1.0))
            for agent, model in self._models.items()
        ]

    def _expected_of_batch(self, requests: list[Any]) -> dict[str, npt.NDArray[np.float64]]:
        """The same by agent, float64 [n]."""
        if self._router is None or not requests:
            return {}
        batch = self._router.route_batch(requests)
        known = list(batch.models)
        return {
            agent: np.clip(batch.scores[:, known.index(model)] + self._levels.get(agent, 0.0), 0.0, 1.0)
            for agent, model in self._models.items()
        }

    def calibrate(
        self,
        requests: Sequence[Request],
        quality: Mapping[str, npt.ArrayLike],
        *,
        groups: npt.ArrayLike | None = None,
    ) -> Mapping[str, float]:
        """Learns how far the trained router's expectations are off, on requests it was not trained on.

        Each agent's mean error is added to whatever is expected of it from now on. The requests are kept, for
        :meth:`route_batch` to bound what a batch will reach. An earlier calibration is replaced.

        Args:
            requests: [h] texts, or chat messages.
            quality: by agent, what its answers were worth, [h] numbers from 0 to 1, NaN where nobody knows.
            groups: [h] whole numbers: requests of one group (repeats, one conversation) count as one in errors.

        Returns:
            By agent, what is added.

        Raises:
            OptionError: without a trained router, or values that cannot be.
        """
        if self._router is None:
            raise OptionError("router", None, "give the trained router to be calibrated")
        listed = listed_requests(requests)
        self._levels, self._held_out = {}, None
        tokens = np.array([_tokens(each) for each in listed], np.float64)
        self._held_out = HeldOut.of(self._expected_of_batch(listed), quality, tokens, groups)
        self._levels = dict(zip(self._held_out.agents, self._held_out.levels.tolist(), strict=True))
        return dict(self._levels)

    def learn_errors(self, outcomes: Iterable[Outcome]) -> None:
        """Learns from what agents scored on the same requests whose errors go together, for ensembles.

        Correlations of the scores on the requests two agents have in common, drawn towards the mean of all pairs
        as if that had been seen on 20 requests.

        Args:
            outcomes: of :meth:`~tiny_dancer.storage.HistoryStorage.outcome_history`; ``model`` is the agent.
        """
        names = self.registry.engine.names()
        place = {name: column for column, name in enumerate(names)}
        rows: dict[str, int] = {}
        cells = [
            (rows.setdefault(each.decision_id, len(rows)), place[each.model], each.quality)
            for each in outcomes
            if each.model in place
        ]
        scores = np.full((len(rows), len(names)), np.nan)
        for row, column, score in cells:
            scores[row, column] = score
        self._correlation = (tuple(names), error_correlation(scores))

    def route_multi(
        self,
        request: Request,
        num_agents: int = 3,
        strategy: Literal["pipeline", "parallel", "ensemble"] = "pipeline",
        *,
        optimize_for: AgentPolicy = "balanced",
        required_capabilities: Sequence[str] = (),
        combine: Literal["vote", "judge"] = "vote",
        types: Sequence[str] = (),
        max_cost: float | None = None,
        max_latency_ms: float | None = None,
        min_quality: float | None = None,
        excluded: Sequence[str] = (),
        tags: Sequence[str] = (),
        region: str | None = None,
        budget_remaining: float | None = None,
        weights: Mapping[str, float] | None = None,
        input_tokens: float | None = None,
        output_tokens: float | None = None,
        level: float = 0.9,
        now: float | None = None,
    ) -> AgentPlan:
        """Several agents for a request.

        ``pipeline``: the required capabilities, in their order, cut into at most ``num_agents`` steps; of all cuts
        the best by the policy. ``parallel``: each required capability goes to one of at most ``num_agents``
        agents, side by side. ``ensemble``: ``num_agents`` are asked the same, chosen so that what comes of a vote
        or a judge is best; whose errors go together is learned by :meth:`learn_errors`, else taken to be
        independent.

        Args:
            request: a text, or chat messages.
            num_agents: most of them; of an ensemble, all of them.
            strategy: see above.
            optimize_for: see :data:`AgentPolicy`; of the whole.
            required_capabilities: to be shared out (pipeline, parallel), or that each must have (ensemble).
            combine: ``vote``, or ``judge`` who finds a right answer where there is one.
            types: as for :meth:`route`; bounds are of each agent.
            max_cost: as for :meth:`route`.
            max_latency_ms: as for :meth:`route`.
            min_quality: as for :meth:`route`.
            excluded: as for :meth:`route`.
            tags: as for :meth:`route`.
            region: as for :meth:`route`.
            budget_remaining: as for :meth:`route`.
            weights: as for :meth:`route`.
            input_tokens: as for :meth:`route`.
            output_tokens: as for :meth:`route`.
            level: as for :meth:`route`.
            now: as for :meth:`route`.

        Raises:
            NoSuitableAgentError: no agents do; ``removed`` says what removed each from the whole.
            OptionError: as :meth:`route`, or an unknown strategy.
        """
        if strategy not in ("pipeline", "parallel", "ensemble"):
            raise OptionError("strategy", strategy, "use pipeline, parallel or ensemble")
        if combine not in ("vote", "judge"):
            raise OptionError("combine", combine, "use vote or judge")
        if isinstance(num_agents, bool) or not isinstance(num_agents, int) or num_agents < 1:
            raise OptionError("num_agents", num_agents, "give 1 or more; 2 or more for an ensemble")
        query = self._query(
            optimize_for, required_capabilities, None, types, max_cost, max_latency_ms, min_quality, excluded,
            tags, region, budget_remaining, weights, level, None,
        )  # fmt: skip
        tokens = _tokens(request) if input_tokens is None else input_tokens
        moment = self.registry.clock() if now is None else now
        engine = self.registry.engine
        together = combine if strategy == "ensemble" else strategy
        correlation = self._aligned() if strategy == "ensemble" else None
        try:
            steps, quality, cost, latency, utility = engine.several(
                query, together, num_agents, tokens, moment, output_tokens, correlation
            )
        except NoFeasibleModelError as error:
            removed = engine.removed(query, tokens, moment, output_tokens)
            raise NoSuitableAgentError(error.field, error.value, error.remedy, removed) from None
        names = list(required_capabilities)
        found = tuple(
            AgentStep(agent, tuple(names[place] for place in covers), good, _known(dear), _known(slow * 1000.0))
            for agent, covers, good, dear, slow in steps
        )
        return AgentPlan(
            strategy, found, quality, _known(cost), _known(latency * 1000.0), utility,
            plan_reason(strategy, combine, found, quality, cost, utility),
        )  # fmt: skip

    def _aligned(self) -> bytes | None:
        """The correlations in the order of the engine's rows; unknown ones are the mean."""
        if self._correlation is None:
            return None
        names, matrix = self._correlation
        rows = self.registry.engine.names()
        if tuple(rows) == names:
            return matrix.tobytes()
        place = {name: at for at, name in enumerate(names)}
        apart = ~np.eye(len(names), dtype=bool)
        usual = float(matrix[apart].mean()) if len(names) > 1 else 0.0
        found = np.full((len(rows), len(rows)), usual)
        known = [(at, place[name]) for at, name in enumerate(rows) if name in place]
        for one, of_one in known:
            for other, of_other in known:
                found[one, other] = matrix[of_one, of_other]
        return found.tobytes()

    def route_batch(
        self,
        requests: Sequence[Request],
        optimize_for: Literal["total_cost", "quality"] = "total_cost",
        *,
        min_mean_quality: float | None = None,
        confidence: float | None = None,
        budget: float | None = None,
        capacities: Mapping[str, int] | None = None,
        required_capabilities: Sequence[str] = (),
        task: str | None = None,
        types: Sequence[str] = (),
        max_cost: float | None = None,
        max_latency_ms: float | None = None,
        min_quality: float | None = None,
        excluded: Sequence[str] = (),
        tags: Sequence[str] = (),
        region: str | None = None,
        input_tokens: npt.ArrayLike | None = None,
        output_tokens: npt.ArrayLike | None = None,
        level: float = 0.9,
        now: float | None = None,
    ) -> AgentAssignment:
        """Agents for a batch, so that all together cost least at a mean quality, or answer best for a budget.

        Never dearer than the best that one by one can do at the same mean quality, as that is one of the
        assignments; the gap to what is possible at all is stated.

        Args:
            requests: texts, or chat messages.
            optimize_for: ``total_cost``, or ``quality`` within ``budget``.
            min_mean_quality: with ``total_cost``, what the mean expected quality has to reach.
            confidence: probability with which the mean quality has to reach it in fact, by the requests of
                :meth:`calibrate`; the normal approximation holds from some dozens of requests on. By default it
                has to be expected.
            budget: USD of all.
            capacities: by agent, most requests of the batch.
            required_capabilities: as for :meth:`route`, of every request; so are those below.
            task: as for :meth:`route`.
            types: as for :meth:`route`.
            max_cost: as for :meth:`route`.
            max_latency_ms: as for :meth:`route`.
            min_quality: as for :meth:`route`: what the trained router expects of its agents on each request has
                to reach it, and of others the lower end of what the registry believes.
            excluded: as for :meth:`route`.
            tags: as for :meth:`route`.
            region: as for :meth:`route`.
            input_tokens: [n]; else guessed, a token for every four bytes.
            output_tokens: [n]; else each agent's usual number.
            level: as for :meth:`route`.
            now: as for :meth:`route`.

        Raises:
            NoFeasibleModelError: no assignment does; it says what can be reached.
            OptionError: as :meth:`route`.
        """
        listed = listed_requests(requests)
        query = self._query(
            "cost", required_capabilities, task, types, max_cost, max_latency_ms, min_quality, excluded, tags,
            region, None, None, level, None,
        )  # fmt: skip
        moment = self.registry.clock() if now is None else now
        if input_tokens is None:
            tokens = np.array([_tokens(each) for each in listed], np.float64)
        else:
            tokens = _counted("input_tokens", input_tokens, len(listed))
        answers = None if output_tokens is None else _counted("output_tokens", output_tokens, len(listed))
        engine = self.registry.engine
        names = engine.names()
        for name in capacities or ():
            if name not in self.registry:
                raise OptionError("capacities", name, "name agents of the registry")
        shape = (len(listed), len(names))
        said = None
        columns = self._expected_of_batch(listed)
        if columns:
            said = np.full(shape, np.nan)
            for agent, column in columns.items():
                if agent in names:
                    said[:, names.index(agent)] = column
        good, dear, _ = engine.expect(
            query, tokens.tobytes(), moment, None if answers is None else answers.tobytes(),
            None if said is None else said.tobytes(),
        )  # fmt: skip
        quality = np.frombuffer(good, "<f8").reshape(shape)
        cost = np.frombuffer(dear, "<f8").reshape(shape)
        most = None if capacities is None else [capacities.get(name) for name in names]
        bound = None
        if confidence is None:
            found = assign(
                quality,
                cost,
                optimize_for=optimize_for,
                min_mean_quality=min_mean_quality,
                budget=budget,
                capacities=most,
            )
        else:
            held_out = self._confident(confidence, optimize_for, min_mean_quality, cost, names)
            # What was held out may be answered by whoever may answer the batch.
            _, past, _ = engine.expect(query, held_out.tokens.tobytes(), moment)
            past_cost = np.frombuffer(past, "<f8").reshape(len(held_out.tokens), len(names)).copy()
            past_cost[:, [most is not None and most[at] == 0 for at in range(len(names))]] = np.nan
            found, bound = held_out.assign(
                quality,
                cost,
                past_cost,
                [names.index(name) for name in held_out.agents],
                min_mean_quality=number("min_mean_quality", min_mean_quality, error=OptionError),
                confidence=confidence,
                capacities=most,
                budget=budget,
            )
        return AgentAssignment(
            tuple(names[column] for column in found.columns),
            found.cost,
            found.quality,
            found.bound,
            found.gap,
            found.multiplier,
            bound,
        )

    def _confident(
        self,
        confidence: object,
        optimize_for: str,
        least: float | None,
        cost: npt.NDArray[np.float64],
        names: list[str],
    ) -> HeldOut:
        """What bounds the quality of a batch.

        Raises:
            OptionError: it cannot be bounded.
        """
        if not 0.5 <= number("confidence", confidence, error=OptionError) < 1:
            raise OptionError("confidence", confidence, "give a probability from 0.5 to below 1")
        if optimize_for != "total_cost" or least is None:
            raise OptionError(
                "confidence", confidence, "set min_mean_quality: the confidence is that it is reached"
            )
        if self._held_out is None:
            raise OptionError("confidence", confidence, "call calibrate with held-out requests first")
        covered = set(self._held_out.agents)
        for column, name in enumerate(names):
            if name not in covered and not np.isnan(cost[:, column]).all():
                raise OptionError("confidence", name, "exclude agents that were not calibrated")
        return self._held_out


def _at_limits(registry: AgentRegistry, loads: Mapping[str, AgentLoad]) -> dict[str, str]:
    """By agent that is at a limit of its own, which."""
    found = {}
    for name, load in loads.items():
        if name not in registry:
            raise OptionError("loads", name, "name agents of the registry")
        if (limit := load.reached(registry[name])) is not None:
            found[name] = limit
    return found


def _quality(name: str, value: float) -> float:
    quality = number(f"expected.{name}", value, error=OptionError)
    if not 0 <= quality <= 1:
        raise OptionError(f"expected.{name}", value, "give a quality from 0 to 1, or leave the agent out")
    return quality


def _tokens(request: Request) -> float:
    """Tokens of a request that nobody counted."""
    if isinstance(request, str):
        size = len(request) if request.isascii() else len(request.encode(errors="replace"))
    else:
        size = len(as_engine(request))
    return float(-(-size // BYTES_PER_TOKEN))


def _counted(field: str, values: npt.ArrayLike, rows: int) -> npt.NDArray[np.float64]:
    try:
        found = np.ascontiguousarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise OptionError(field, error, "give one number a request") from None
    if found.shape != (rows,):
        raise OptionError(field, found.shape, "give one number a request")
    return found


def _known(value: float) -> float | None:
    return None if value != value else value


def _refuse(fields: Mapping[str, object]) -> NoReturn:
    """Names the field that is no number."""
    for name, value in fields.items():
        if value is not None:
            number(name, value, error=OptionError)
    raise OptionError("request", "a value of another type", "give numbers as numbers")
