"""Which of many agents answers a request: ``agents.rs`` and what is below it, slow and readable."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

from .errors import Refusal
from .price import Tokens, by_prices, is_any

JEFFREYS = (0.5, 0.5)
LEAST = 0.05
USUAL_VARIATION = 0.5
USUAL_WEIGHT = 5.0
WAITING = 0.2  # share of a language model's usual time that does not grow with its answer
SUMS = ("quality", "success", "cost_ratio", "cost", "latency", "output_tokens")
POLICIES = {
    "cost": (0.0, 1.0, 0.0),
    "latency": (0.0, 0.0, 1.0),
    "quality": (1.0, 0.0, 0.0),
}
UNKNOWN = math.nan

Numbers = dict[str, float]


# What is observed fades.


def nothing() -> Numbers:
    return {"weight": 0.0, "sum": 0.0, "squares": 0.0}


def faded(tally: Numbers, factor: float) -> Numbers:
    return {name: value * factor for name, value in tally.items()}


def counted(tally: Numbers, value: float, weight: float) -> Numbers:
    more = {"weight": weight, "sum": weight * value, "squares": weight * value * value}
    return {name: tally[name] + more[name] for name in tally}


def fading(seconds: float, half_life: float | None) -> float:
    return 1.0 if half_life is None else math.pow(2.0, -max(seconds, 0.0) / half_life)


def fading_by_steps(seconds: float, half_life: float | None) -> float:
    """The same with the age in whole thousandths of the half-life."""
    if half_life is None:
        return 1.0
    return math.pow(2.0, -math.floor(1000.0 * max(seconds, 0.0) / half_life) / 1000.0)


def state_after(state: dict[str, Any], outcome: dict[str, Any], half_life: float | None) -> dict[str, Any]:
    """The sums with one more outcome, as of the later of both moments."""
    before = {"at": 0.0, "outcomes": 0, "tasks": {}, **{name: nothing() for name in SUMS}, **state}
    then = outcome["at"]
    success, quality, task = outcome.get("success", True), outcome.get("quality"), outcome.get("task")
    if quality is not None and not (success and 0 <= quality <= 1):
        raise Refusal("CandidateInvalid", "quality")
    for name in ("cost", "expected_cost", "output_tokens", "latency"):
        value = outcome.get(name)
        if value is not None and (not 0 <= value <= 1e12 or (name == "latency" and value == 0)):
            raise Refusal("CandidateInvalid", name)
    at = then if before["outcomes"] == 0 else max(before["at"], then)
    kept, weight = fading(at - before["at"], half_life), fading(at - then, half_life)
    after: dict[str, Any] = {name: faded(before[name], kept) for name in SUMS}
    after |= {"at": at, "outcomes": before["outcomes"] + 1}
    after["tasks"] = {name: faded(tally, kept) for name, tally in before["tasks"].items()}

    def add(name: str, value: float | None) -> None:
        if value is not None:
            after[name] = counted(after[name], value, weight)

    add("quality", quality)
    if quality is not None and task is not None:
        after["tasks"][task] = counted(after["tasks"].get(task, nothing()), quality, weight)
    add("success", 1.0 if success else 0.0)
    if outcome.get("cost") is not None and (outcome.get("expected_cost") or 0) > 0:
        add("cost_ratio", outcome["cost"] / outcome["expected_cost"])
    else:
        add("cost", outcome.get("cost"))
    add("latency", outcome.get("latency"))
    add("output_tokens", outcome.get("output_tokens"))
    return after


# Shares are Beta, amounts are log-normal.


def beta_below(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function, by its hypergeometric series (DLMF 8.17.8)."""
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    if x > 0.5:
        return 1.0 - beta_below(b, a, 1.0 - x)
    front = a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    term = total = 1.0
    step = 0
    while term > 1e-18 * total:
        term *= (a + b + step) / (a + 1 + step) * x
        total += term
        step += 1
    return math.exp(front) * total / a


def beta_quantile(belief: tuple[float, float], p: float) -> float:
    a, b = belief
    if b <= 0:
        return 1.0
    if a <= 0:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(200):
        middle = (low + high) / 2
        if beta_below(a, b, middle) > p:
            high = middle
        else:
            low = middle
    return (low + high) / 2


def mean(belief: tuple[float, float]) -> float:
    return belief[0] / sum(belief)


def variance(belief: tuple[float, float]) -> float:
    return mean(belief) * (1 - mean(belief)) / (sum(belief) + 1)


def declared(share: float | None, weight: float) -> tuple[float, float]:
    if share is None:
        return JEFFREYS
    return max(weight * share, LEAST), max(weight * (1 - share), LEAST)


def after(belief: tuple[float, float], tally: Numbers) -> tuple[float, float]:
    return belief[0] + tally["sum"], belief[1] + max(tally["weight"] - tally["sum"], 0.0)


def times(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """Beta with mean and variance of the product of two independent shares."""
    if other[1] <= 0:
        return one
    expected = mean(one) * mean(other)
    second = (variance(one) + mean(one) ** 2) * (variance(other) + mean(other) ** 2)
    spread = second - expected**2
    if spread <= 0:
        return expected, 1 - expected
    size = expected * (1 - expected) / spread - 1
    return expected * size, (1 - expected) * size


def amount(prior: float, weight: float, variation: float, tally: Numbers) -> tuple[float, float, float]:
    """(Mean, variance of one amount, rows)."""
    seen = tally["sum"] / tally["weight"] if tally["weight"] > 0 else UNKNOWN
    rows = weight + tally["weight"]
    if math.isnan(prior):
        prior = expected = seen
    else:
        expected = (weight * prior + tally["sum"]) / rows
    if math.isnan(expected):
        return UNKNOWN, 0.0, 1.0
    second = (weight * prior**2 * (1 + variation**2) + tally["squares"]) / rows
    return expected, max(second - expected**2, 0.0), rows


def amount_at(found: tuple[float, float, float], z: float) -> float:
    expected, spread, _ = found
    if spread <= 0 or expected <= 0:
        return expected
    square = math.log1p(spread / expected**2)
    return expected * math.exp(math.sqrt(square) * z - square / 2)


# One agent on one request.


class Agent:
    """An agent as it is declared and was observed."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.given = given
        self.name: str = given["name"]
        self.weight: float = given.get("prior_weight", USUAL_WEIGHT)
        state = {"at": 0.0, "tasks": {}, **{name: nothing() for name in SUMS}, **given.get("state", {})}
        self.at: float = state["at"]
        self.tasks: dict[str, Numbers] = state["tasks"]
        self.seen: dict[str, Numbers] = {name: state[name] for name in SUMS}

    def belief(self, tasks: list[str], factor: float) -> tuple[float, float]:
        """What is believed of its quality, calls that fail included."""
        overall = declared(self.given.get("quality"), self.weight)
        said = self.given.get("task_quality", {})
        found = []
        for task in tasks:
            if task not in said and task not in self.tasks:
                continue
            here = self.tasks.get(task, nothing())
            if task in said:
                prior = declared(said[task], self.weight)
            else:
                elsewhere = {name: max(value - here[name], 0.0) for name, value in self.seen["quality"].items()}
                prior = declared(mean(after(overall, faded(elsewhere, factor))), self.weight)
            found.append(after(prior, faded(here, factor)))
        answered = min(found, key=mean) if found else after(overall, faded(self.seen["quality"], factor))
        calls = faded(self.seen["success"], factor)
        share = self.given.get("success")
        if share is None:
            if calls["weight"] - calls["sum"] <= 0:
                return answered
            return times(answered, after((self.weight, 0.0), calls))
        return times(answered, after((self.weight * share, self.weight * (1 - share)), calls))

    def latency(self, answer: float | None, factor: float) -> tuple[float, float, float]:
        """Seconds; of a language model, for an answer of so many tokens where its usual number is known."""
        seconds = self.given.get("latency")
        p99 = self.given.get("latency_p99")
        variation = USUAL_VARIATION
        if seconds is not None and p99 is not None:
            z = NormalDist().inv_cdf(0.99)
            spread = z - math.sqrt(max(z * z - 2 * math.log(p99 / seconds), 0.0))
            variation = math.sqrt(math.expm1(spread**2))
        found = amount(
            UNKNOWN if seconds is None else seconds, self.weight, variation, faded(self.seen["latency"], factor)
        )
        usual = self.answer(factor)
        if answer is None or self.given.get("type", "llm") != "llm" or math.isnan(usual) or not usual:
            return found
        longer = WAITING + (1 - WAITING) * answer / usual
        return found[0] * longer, found[1] * longer**2, found[2]

    def answer(self, factor: float) -> float:
        """Tokens of its usual answer."""
        said = self.given.get("output_tokens")
        seen = faded(self.seen["output_tokens"], factor)
        return amount(UNKNOWN if said is None else said, self.weight, 0.0, seen)[0]

    def cost(
        self, query: dict[str, Any], output: float, seconds: float, factor: float
    ) -> tuple[float, float, float]:
        prices = self.given.get("prices", {})
        by_second = self.given.get("price_second") or 0.0
        if not is_any(prices) and not by_second:
            return amount(UNKNOWN, self.weight, USUAL_VARIATION, faded(self.seen["cost"], factor))
        total = 0.0
        if is_any(prices):
            answer = None if math.isnan(output) else output
            tokens = Tokens(query.get("input_tokens", 0.0), query.get("cached_tokens", 0.0), 0.0, answer)
            listed = by_prices(prices, tokens)
            total = UNKNOWN if listed is None else listed
        if by_second:
            total += by_second * seconds
        has_output = any(
            each.get("price_output", each.get("output")) for each in (prices, *prices.get("price_tiers", []))
        )
        exact = not by_second and not (has_output and query.get("output_tokens") is None)
        variation = 0.0 if exact else USUAL_VARIATION
        ratio = amount(1.0, self.weight, variation, faded(self.seen["cost_ratio"], factor))
        return ratio[0] * total, ratio[1] * total**2, ratio[2]


# The choice.


def utility(policy: str, weights: tuple[float, float, float], good: float, usd: float, seconds: float) -> float:
    if policy == "quality_per_dollar":
        if good <= 0:
            return 0.0
        return good / usd if usd > 0 else math.inf if usd == 0 else UNKNOWN
    parts = zip(weights, (good, -usd, -seconds), strict=True)
    return math.fsum(weight * value for weight, value in parts if weight > 0 and not math.isnan(value))


def utility_variance(
    policy: str, weights: tuple[float, float, float], good: float, usd: float, doubts: tuple[float, float, float]
) -> float:
    if policy == "quality_per_dollar":
        return (doubts[0] + (good / usd) ** 2 * doubts[1]) / usd**2 if usd > 0 else 0.0
    return math.fsum(weight**2 * doubt for weight, doubt in zip(weights, doubts, strict=True) if weight > 0)


def known(value: float) -> float:
    return math.inf if math.isnan(value) else value


def choose(agents: list[dict[str, Any]], half_life: float | None, query: dict[str, Any]) -> dict[str, Any]:
    """The whole answer, by name.

    Raises:
        Refusal: of the engine's kind.
    """
    listed = [Agent(each) for each in agents]
    policy = query.get("optimize_for", "balanced")
    given = {"quality": 1.0, "cost": 10.0, "latency": 0.01, **query.get("weights", {})}
    own = (given["quality"], given["cost"], given["latency"])
    weights = (
        (1.0, *own[1:]) if policy == "balanced" else own if policy == "weights" else POLICIES.get(policy, own)
    )
    check(listed, query, own)
    level = query.get("level", 0.9)
    tail = (1 - level) / 2
    z = NormalDist().inv_cdf(1 - tail)
    required = query.get("required_capabilities", [])
    tasks = [query["task"]] if query.get("task") is not None else list(required)
    ratio = policy == "quality_per_dollar"
    bounds = {name: query.get(name) for name in ("max_cost", "budget_remaining", "max_latency")}
    costs = bounds["max_cost"] is not None or bounds["budget_remaining"] is not None
    times_count = bounds["max_latency"] is not None
    removed: dict[str, str] = {}
    expected: dict[str, dict[str, Any]] = {}
    for agent in listed:
        factor = fading_by_steps(query.get("now", 0.0) - agent.at, half_life)
        asked = query.get("output_tokens")
        output = agent.answer(factor) if asked is None else asked
        said = query.get("qualities", {}).get(agent.name)
        belief = None if said is not None else agent.belief(tasks, factor)
        quality = said if belief is None else mean(belief)
        latency = agent.latency(asked, factor)
        cost = agent.cost(query, output, latency[0], factor)
        by = None
        if not agent.given.get("active", True):
            by = "inactive"
        elif agent.name in query.get("excluded", []):
            by = "excluded"
        elif query.get("types") and agent.given.get("type", "llm") not in query["types"]:
            by = "type"
        elif not set(required) <= set(agent.given.get("capabilities", [])):
            by = "required_capabilities"
        elif not set(query.get("tags", [])) <= set(agent.given.get("tags", [])):
            by = "tags"
        elif query.get("region") is not None and agent.given.get("region") != query["region"]:
            by = "region"
        elif query.get("input_tokens", 0.0) + (0.0 if math.isnan(output) else output) > (
            agent.given.get("context") or math.inf
        ):
            by = "context"
        elif costs and math.isnan(cost[0]):
            by = "cost_unknown"
        elif bounds["max_cost"] is not None and cost[0] > bounds["max_cost"]:
            by = "max_cost"
        elif bounds["budget_remaining"] is not None and amount_at(cost, z) > bounds["budget_remaining"]:
            by = "budget_remaining"
        elif times_count and math.isnan(latency[0]):
            by = "latency_unknown"
        elif bounds["max_latency"] is not None and latency[0] > bounds["max_latency"]:
            by = "max_latency"
        elif query.get("min_quality"):
            lower = quality if belief is None else beta_quantile(belief, tail)
            by = "min_quality" if lower < query["min_quality"] else None
        if by is not None:
            removed[agent.name] = by
            continue
        explore = query.get("explore")
        counts = quality if explore is None or belief is None else beta_quantile(belief, explore)
        doubts = (0.0 if belief is None else variance(belief), cost[1] / cost[2], latency[1] / latency[2])
        expected[agent.name] = {
            "quality": quality,
            "belief": belief,
            "cost": cost,
            "latency": latency,
            "utility": utility(policy, weights, counts, cost[0], latency[0]),
            "plain": utility(policy, weights, quality, cost[0], latency[0]),
            "variance": utility_variance(policy, weights, quality, cost[0], doubts),
        }
    for name, weighs in (("cost", ratio or weights[1] > 0), ("latency", not ratio and weights[2] > 0)):
        unknown = [called for called, each in expected.items() if math.isnan(each[name][0])]
        # What is known of nobody tells nobody apart: balanced leaves it out of account.
        if weighs and not (policy == "balanced" and len(unknown) == len(expected)):
            for called in unknown:
                removed[called] = f"{name}_unknown"
                del expected[called]
    if not expected:
        raise Refusal("NoFeasibleModel", "agents")

    def order(name: str) -> tuple[float, float, float, float, bytes]:
        each = expected[name]
        return (
            -each["utility"],
            known(each["cost"][0]),
            -each["quality"],
            known(each["latency"][0]),
            name.encode(),
        )

    first, *rest = sorted(expected, key=order)
    chosen = expected[first]

    def interval(found: tuple[float, float, float]) -> list[float] | None:
        return None if math.isnan(found[0]) else [amount_at(found, -z), amount_at(found, z)]

    belief = chosen["belief"]
    answer: dict[str, Any] = {
        "agent": first,
        "quality": chosen["quality"],
        "quality_interval": None
        if belief is None
        else [beta_quantile(belief, tail), beta_quantile(belief, 1 - tail)],
        "cost": finite(chosen["cost"][0]),
        "cost_interval": interval(chosen["cost"]),
        "latency": finite(chosen["latency"][0]),
        "latency_interval": interval(chosen["latency"]),
        "utility": finite(chosen["utility"]),
        "confidence": confidence(chosen, expected[rest[0]]) if rest else 1.0,
        "runner_up": rest[0] if rest else None,
        "suitable": len(expected),
        "removed": removed,
    }
    if query.get("front"):
        answer["front"] = front(expected)
    return answer


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def confidence(one: dict[str, Any], two: dict[str, Any]) -> float:
    """That the first is no worse, both normal about what is expected."""
    if math.isinf(one["plain"]) and math.isinf(two["plain"]):
        return 0.5
    ahead, spread = one["plain"] - two["plain"], one["variance"] + two["variance"]
    if spread > 0 and math.isfinite(ahead):
        return NormalDist().cdf(ahead / math.sqrt(spread))
    return 1.0 if ahead > 0 else 0.0 if ahead < 0 else 0.5


def front(expected: dict[str, dict[str, Any]]) -> list[str]:
    """Agents that no other beats, by cost."""
    points = {
        name: (-each["quality"], known(each["cost"][0]), known(each["latency"][0]))
        for name, each in expected.items()
    }

    def beaten(name: str) -> bool:
        own = points[name]
        return any(
            other != own and all(theirs <= mine for theirs, mine in zip(other, own, strict=True))
            for other in points.values()
        )

    return sorted((name for name in points if not beaten(name)), key=lambda name: (points[name][1], name.encode()))


def check(agents: list[Agent], query: dict[str, Any], weights: tuple[float, float, float]) -> None:
    """Refuses what cannot be asked.

    Raises:
        Refusal: OptionInvalid.
    """
    names = {agent.name for agent in agents}
    capabilities = {each for agent in agents for each in agent.given.get("capabilities", [])}
    capabilities |= {task for agent in agents for task in (*agent.given.get("task_quality", {}), *agent.tasks)}
    tags = {each for agent in agents for each in agent.given.get("tags", [])}
    regions = {agent.given.get("region") for agent in agents} - {None}

    def amounts(*fields: str) -> bool:
        return all(query.get(field) is None or query[field] >= 0 for field in fields)

    sound = (
        amounts("input_tokens", "cached_tokens", "output_tokens", "max_cost", "budget_remaining", "max_latency")
        and query.get("max_latency") != 0
        and query.get("cached_tokens", 0.0) <= query.get("input_tokens", 0.0)
        and 0 <= (query.get("min_quality") or 0.0) <= 1
        and 0.3 < query.get("level", 0.9) < 1
        and (query.get("explore") is None or 0 < query["explore"] < 1)
        and all(0 <= weight <= 1e12 for weight in weights)
        and (query.get("optimize_for") != "weights" or any(weights))
        and all(0 <= each <= 1 for each in query.get("qualities", {}).values())
        and set(query.get("qualities", {})) <= names
        and set(query.get("excluded", [])) <= names
        and set(query.get("required_capabilities", [])) <= capabilities
        and (query.get("task") is None or query["task"] in capabilities)
        and set(query.get("tags", [])) <= tags
        and (query.get("region") is None or query["region"] in regions)
    )
    if not sound:
        raise Refusal("OptionInvalid", "query")
