"""The nouns that cross rooms: frozen dataclasses over numpy arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt


NEWEST_SPEC = "3"
"""Feature specification of new artifacts, as the engine names it."""


@dataclass(frozen=True, slots=True)
class FeatureTable:
    """Engine features of n requests; holds no text.

    Attributes:
        ngram_offsets: int64 [n + 1]; row i owns ``ngrams[ngram_offsets[i]:ngram_offsets[i + 1]]``.
        ngrams: uint32, sorted and unique within a row; below ``CHAR_BASE`` (2**17) a hashed word
            1- or 2-gram, from there on a hashed character 3- or 4-gram.
        cues: float32 [n, number of cues].
        embedding: int8 [n, 256], the pooled static embedding up to a positive factor; all zero where
            the text has no known token.
        tokens: int32 [n], word pieces in the request (prices and context windows use it).
        spec: feature specification they were made to; an artifact takes those of its own alone.
    """

    ngram_offsets: npt.NDArray[np.int64]
    ngrams: npt.NDArray[np.uint32]
    cues: npt.NDArray[np.float32]
    embedding: npt.NDArray[np.int8]
    tokens: npt.NDArray[np.int32]
    spec: str = NEWEST_SPEC

    def __len__(self) -> int:
        return len(self.tokens)

    def rows(self, index: npt.NDArray[np.int64]) -> FeatureTable:
        """Features of the rows at ``index``, in that order."""
        lengths = np.diff(self.ngram_offsets)[index]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        # Position within the row, shifted to where the row starts in the old layout.
        places = np.arange(offsets[-1]) + np.repeat(self.ngram_offsets[index] - offsets[:-1], lengths)
        return FeatureTable(
            offsets, self.ngrams[places], self.cues[index], self.embedding[index], self.tokens[index], self.spec
        )


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What each model scored on each request.

    Attributes:
        sample_id: n strings, unique.
        task: n strings (``eval_name``; empty where unknown).
        models: m names, in column order.
        quality: float64 [n, m] in [0, 1]; NaN where not observed.
        cost: float64 [n, m] USD, NaN where missing; None when the table has no costs.
        latency: float64 [n, m] seconds, NaN where missing; None when the table has none.
        weight: float64 [n], positive.
        group: int64 [n]; rows of one group are never split apart.
        prompt: n texts, or None for a featurised table.
        tools: n JSON texts (or None per row), or None when no row has tools.
        messages: n JSON texts (or None per row), or None when no row has chat messages.
        features: the engine's features; None until featurised.
    """

    sample_id: tuple[str, ...]
    task: tuple[str, ...]
    models: tuple[str, ...]
    quality: npt.NDArray[np.float64]
    cost: npt.NDArray[np.float64] | None
    latency: npt.NDArray[np.float64] | None
    weight: npt.NDArray[np.float64]
    group: npt.NDArray[np.int64]
    prompt: tuple[str, ...] | None = None
    tools: tuple[str | None, ...] | None = None
    messages: tuple[str | None, ...] | None = None
    features: FeatureTable | None = None

    def __len__(self) -> int:
        return len(self.sample_id)

    def rows(self, index: npt.NDArray[np.int64]) -> Outcomes:
        """Outcomes of the rows at ``index``, in that order."""

        def texts(values: tuple[str | None, ...] | None) -> tuple[str | None, ...] | None:
            return None if values is None else tuple(values[i] for i in index)

        return replace(
            self,
            sample_id=tuple(self.sample_id[i] for i in index),
            task=tuple(self.task[i] for i in index),
            quality=self.quality[index],
            cost=None if self.cost is None else self.cost[index],
            latency=None if self.latency is None else self.latency[index],
            weight=self.weight[index],
            group=self.group[index],
            prompt=None if self.prompt is None else tuple(self.prompt[i] for i in index),
            tools=texts(self.tools),
            messages=texts(self.messages),
            features=None if self.features is None else self.features.rows(index),
        )


@dataclass(frozen=True, slots=True)
class PriceTier:
    """Prices of every token of a request with a long prompt, LiteLLM's ``…_above_200k_tokens``.

    What is None is as without the tier.

    Attributes:
        above_tokens: prompt tokens from which on, exclusively.
        input_cost_per_token: USD per prompt token.
        output_cost_per_token: USD per output token.
        cache_read_input_token_cost: USD per prompt token read from the model's cache.
        cache_creation_input_token_cost: USD per prompt token written into it.
    """

    above_tokens: int
    input_cost_per_token: float | None = None
    output_cost_per_token: float | None = None
    cache_read_input_token_cost: float | None = None
    cache_creation_input_token_cost: float | None = None


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is known of a model; prices by LiteLLM's names, in USD.

    A price of the prompt needs one of the answer and the other way round, here or in the artifact: 0 where it is
    free. :meth:`Router.load` refuses one alone, which would count the other as free.

    Attributes:
        name: the model called where the artifact says otherwise (a role, say); None keeps the name.
        input_cost_per_token: USD per prompt token.
        output_cost_per_token: USD per output token.
        cost_per_request: USD per request.
        expected_output_tokens: output tokens of a usual answer.
        context_window: prompt plus output tokens it accepts.
        cache_read_input_token_cost: USD per prompt token read from the model's cache; as any other where None.
        cache_creation_input_token_cost: USD per prompt token written into it; as any other where None.
        tiers: other prices for long prompts.
    """

    name: str | None = None
    input_cost_per_token: float | None = None
    output_cost_per_token: float | None = None
    cost_per_request: float | None = None
    expected_output_tokens: float | None = None
    context_window: int | None = None
    cache_read_input_token_cost: float | None = None
    cache_creation_input_token_cost: float | None = None
    tiers: tuple[PriceTier, ...] = ()


@dataclass(frozen=True, slots=True)
class Guarantee:
    """A certified bound: with confidence 1 − delta, the mean risk is at most epsilon (Learn-then-Test).

    Attributes:
        epsilon: largest risk allowed.
        delta: chance, over calibration rows, that the bound fails.
        risk: ``mean`` (quality lost against the reference), ``harm`` (its positive part), ``routed`` (share of the
            requests not sent to the reference on which quality is lost) or ``cost`` (share of requests over the
            budget).
        reference: model compared with.
        rows: independent calibration rows, or groups of rows.
        p_value: of "the risk is at least epsilon".
        data_digest: of the calibration rows.
        date: as the caller of ``calibrate`` gave it.
        observed_risk: mean risk on the calibration rows.
        budget: USD that a request, or the mean of a batch, may cost; None for the other risks.
        batch: requests in a batch; None for the other risks.
    """

    epsilon: float
    delta: float
    risk: str
    reference: str
    rows: int
    p_value: float
    data_digest: str
    date: str
    observed_risk: float
    budget: float | None = None
    batch: int | None = None

    def words(self) -> str:
        """What is bounded, in words."""
        return bound_in_words(self.risk, self.reference, self.epsilon, self.budget, self.batch)


def bound_in_words(
    risk: str, reference: str, epsilon: float, budget: float | None = None, batch: int | None = None
) -> str:
    """The bound of a certificate, in words; see :class:`Guarantee`."""
    if risk == "routed":
        return f"quality lost against {reference} on less than {epsilon:.2%} of the requests not sent to it"
    if risk == "cost":
        what = "requests" if batch in (None, 1) else f"batches of {batch:,} requests, a request on average,"
        return f"less than {epsilon:.2%} of {what} cost more than {budget:g} USD"
    what = "mean quality loss" if risk == "mean" else "mean harm (quality lost where any is)"
    return f"{what} against {reference} below {epsilon:g}"


class Decision(msgspec.Struct, frozen=True, gc=False):
    """Which model, and everything there is to say about it.

    A msgspec struct, because one is made per request: it costs a fraction of a dataclass. What ``dataclasses`` has
    for those, ``msgspec.structs`` has for this: ``asdict``, ``replace``, ``fields``.

    Attributes:
        id: names this decision; feedback refers to it.
        model: the choice.
        scores: expected quality of every model, in [0, 1].
        costs: expected USD of every model (None where unknown); None where no model has a price.
        quality: expected quality of the choice.
        cost: expected USD of the choice, or None.
        confidence: calibrated probability that no other model would have been better.
        prediction_set: models of which one is a best one, at the artifact's coverage: those within the width of
            split conformal prediction, and the choice where its confidence exceeds 1 - coverage. A model outside
            may be as good (outcomes of 0 and 1 tie), and is then a choice of confidence all the same: pin it, and
            the set has it.
        reason: ``gain_worth_cost``, ``gain_too_small``, ``best_value``, ``best_constant``, ``pinned``,
            ``next_feasible`` or ``prompt_cached``.
        routed_by: ``learned``, ``default``, ``override``, ``constraint`` or ``session`` (the conversation stayed
            with the model that has it in its prompt cache); ``cache`` or ``heuristic`` where a fallback decided.
        guarantee: the certificate this decision stands under, or None.
        guarantee_note: why there is none; empty where there is one.
        artifact_version: version of the artifact that decided.
        elapsed_us: microseconds from call to decision.
        level: 0 as learned; 1 cached, 2 heuristic or 3 default where a fallback decided. From level 2 on nothing
            is expected of quality and cost: scores, quality and confidence are NaN, costs None.
        level_reason: why no better level decided; empty at level 0.
        latencies: expected seconds of every model (None where unknown); None where nobody measured any.
        tokens: of the prompt; 0 where nobody counted.
        output_tokens: expected of every model (None where unknown); None where none is known.
        removed: models that a constraint removed, with the option that did.
        likeness: p-value of "the request is like those the artifact was calibrated on" (its certificate's, or the
            training's), in (0, 1]; None where the artifact cannot say. Up to the level that the artifact states
            (``header["likeness"]["level"]``) no guarantee is attached.
        artifact: first 16 hex digits of the SHA-256 of the artifact that decided: tells two of one version apart.
    """

    id: str
    model: str
    scores: Mapping[str, float]
    costs: Mapping[str, float | None] | None
    quality: float
    cost: float | None
    confidence: float
    prediction_set: tuple[str, ...]
    reason: str
    routed_by: str
    guarantee: Guarantee | None
    guarantee_note: str
    artifact_version: str
    elapsed_us: float
    level: int = 0
    level_reason: str = ""
    latencies: Mapping[str, float | None] | None = None
    tokens: int = 0
    output_tokens: Mapping[str, float | None] | None = None
    removed: Mapping[str, str] = msgspec.field(default_factory=dict)
    likeness: float | None = None
    artifact: str = ""


@dataclass(frozen=True, slots=True)
class DecisionBatch:
    """Decisions of n requests, column by column; indexing and iterating give :class:`Decision` objects.

    Attributes:
        models: m names.
        choice: int32 [n], index of the model chosen.
        scores: float32 [n, m], expected quality.
        costs: float64 [n, m] USD, NaN where unknown.
        confidence: float32 [n].
        prediction_set: bool [n, m].
        reasons: n words.
        routed_by: n words.
        guaranteed: bool [n], whether the decision stands under the certificate.
        guarantee: the artifact's certificate, or None.
        guarantee_notes: for each row, why it stands under none; empty where it does.
        artifact_version: version of the artifact that decided.
        elapsed_us: microseconds a request, on average.
        latencies: float64 [n, m] seconds, NaN where unknown.
        tokens: uint32 [n], of the prompts.
        output_tokens: float64 [n, m], NaN where unknown.
        removed: [n, m] words, the option that removed a model; empty where none did.
        id_prefix: row i has the id ``<prefix>-<i>``.
        likeness: float32 [n], p-values as of :class:`Decision`, NaN where the artifact cannot say.
        artifact: of the artifact that decided, as of :class:`Decision`.
    """

    models: tuple[str, ...]
    choice: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]
    costs: npt.NDArray[np.float64]
    confidence: npt.NDArray[np.float32]
    prediction_set: npt.NDArray[np.bool_]
    reasons: npt.NDArray[np.str_]
    routed_by: npt.NDArray[np.str_]
    guaranteed: npt.NDArray[np.bool_]
    guarantee: Guarantee | None
    guarantee_notes: npt.NDArray[np.str_]
    artifact_version: str
    elapsed_us: float
    latencies: npt.NDArray[np.float64]
    tokens: npt.NDArray[np.uint32]
    output_tokens: npt.NDArray[np.float64]
    removed: npt.NDArray[np.str_]
    id_prefix: str = field(repr=False)
    likeness: npt.NDArray[np.float32]
    artifact: str

    def __len__(self) -> int:
        return len(self.choice)

    def __getitem__(self, row: int) -> Decision:
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        row %= len(self)
        chosen = int(self.choice[row])
        costs = self._named(self.costs[row])
        members = np.flatnonzero(self.prediction_set[row])
        return Decision(
            id=f"{self.id_prefix}-{row:x}",
            model=self.models[chosen],
            scores={name: float(q) for name, q in zip(self.models, self.scores[row], strict=True)},
            costs=costs,
            quality=float(self.scores[row, chosen]),
            cost=None if costs is None else costs[self.models[chosen]],
            confidence=float(self.confidence[row]),
            prediction_set=tuple(self.models[i] for i in members),
            reason=str(self.reasons[row]),
            routed_by=str(self.routed_by[row]),
            guarantee=self.guarantee if self.guaranteed[row] else None,
            guarantee_note=str(self.guarantee_notes[row]),
            artifact_version=self.artifact_version,
            elapsed_us=self.elapsed_us,
            latencies=self._named(self.latencies[row]),
            tokens=int(self.tokens[row]),
            output_tokens=self._named(self.output_tokens[row]),
            removed={name: str(by) for name, by in zip(self.models, self.removed[row], strict=True) if by},
            likeness=None if np.isnan(self.likeness[row]) else float(self.likeness[row]),
            artifact=self.artifact,
        )

    def _named(self, values: npt.NDArray[np.float64]) -> dict[str, float | None] | None:
        """Numbers by model, unknown ones None; None where all are."""
        if np.isnan(values).all():
            return None
        pairs = zip(self.models, values.tolist(), strict=True)
        return {name: None if value != value else value for name, value in pairs}

    def __iter__(self) -> Iterator[Decision]:
        return (self[row] for row in range(len(self)))


@dataclass(frozen=True, slots=True)
class Classification:
    """Which label, and how sure the classifier is.

    Attributes:
        label: the most probable one; of equal ones the first.
        probability: its calibrated probability.
        probabilities: of every label, in the artifact's order; they sum to 1.
        prediction_set: labels that hold the true one with the artifact's coverage (split conformal), or None
            where the artifact is not calibrated for it.
        artifact_version: version of the artifact that answered.
    """

    label: str
    probability: float
    probabilities: Mapping[str, float]
    prediction_set: tuple[str, ...] | None
    artifact_version: str


class RequestRecord(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One request through the gateway, as it ended. Storage, metrics, traces and the request log all read this.

    A msgspec struct, because one is made per request: it costs a fraction of a dataclass.

    Attributes:
        id: the gateway's own, sent as ``x-request-id``.
        time: UTC seconds when it arrived.
        endpoint: ``chat.completions``, ``completions``, ``responses``, ``embeddings``, ``messages``, ``route``,
            ``decide``; ``judge`` of what the gateway itself asked a model; of what is passed on ``moderations``,
            ``rerank``, ``audio.*``, ``images.*``, ``files``, ``batches``, ``responses.stored`` or
            ``messages.count_tokens``; ``sql`` of a call that was recorded by PostgreSQL's functions.
        key: id of the API key, empty without one.
        asked: model the client named.
        status: of HTTP, as the client saw it; 499 where the client went away.
        model: name of the model that served, or was paid for (as in the configuration); empty where none was.
        upstream: name of the upstream that served, or was paid for; empty where none was.
        response_id: the upstream's id of the answer, which clients give feedback about.
        decision_id: of the routing decision; None where nothing was routed.
        router: name of the router that decided; empty where none did.
        routed_by: as of :class:`Decision`; ``client`` where the client named the model; the step of a chain that
            decided: ``override``, ``semantic``, ``learned``, ``judge``, ``human`` or ``default``.
        reason: as of :class:`Decision`, or why another model than the decided one served.
        level: fallback level of the decision, 0 as learned.
        confidence: of the decision, or None.
        scores: expected quality per model, or None.
        role: as the request said, or ``chat``.
        session: conversation it belongs to, hashed; empty where unknown.
        stream: whether the answer was streamed.
        attempts: calls to upstreams.
        fallbacks: models tried before the one that served.
        input_tokens: of the prompt, those cached included.
        output_tokens: of the answer.
        cached_tokens: of the prompt, read from the upstream's cache.
        cost: USD; None where the model has no price.
        baseline_cost: USD the strongest model would have cost; None where it has no price.
        latency: seconds from arrival to the last byte.
        ttft: seconds from arrival to the first byte of the answer's body.
        error: code of the error; empty where it succeeded.
        query_hash: of the prompt's text, or None.
        query_text: the prompt's text, where the operator asked to keep it.
        artifact_version: version of the artifact that decided; empty where none did.
        variant: name of the router's variant that decided; empty where none did.
        guessed: tokens or cost, in part or as a whole, are guessed: no upstream has said them.
        guessed_cost: USD of ``cost`` that is guessed.
        tool_selection: what was done about its tools: ``filter`` or ``add`` as its router is configured,
            ``search`` where the model searched them; or why nothing was, ``no_text`` or ``unreadable``. Empty
            where nobody selected any.
        tools_before: how many the client sent; 0 where nobody selected any.
        tools_sent: how many of them, and of those added, its model got.
        tool_tokens_saved: tokens of the prompt that this saved, guessed by bytes; below 0 where tools were added.
        tool_searches: how often its model has searched for tools that the gateway found.
        hops: of a chain: every step asked, in order, and why it passed on or chose; empty where no chain decided.
        user: who is behind the request, as its key says, or else the request itself; empty where neither does.
        team: of its key; empty where it has none.
        project: as ``user``.
        tags: of its key, then those of the request itself.
        agent: name of the agent that served; empty where none did.
        route: the intent that a chain's step found and followed; empty where none did.
        guarantee: whether the certificate of its router's artifact covers the answer: ``yes``, or ``no: `` and
            why; empty where nothing answered, or there is no certificate.
        agents_failed: agents of the registry that were asked and did not answer.
        removed: what removed models, and agents as clients name them, from the choice: by name the option or
            constraint (``max_cost``, ``not_for_this_key``, ``provider.only``, ``breaker``, ``max_concurrency``).
            Of at most 32; the empty name says how many more there are. What is longer than 100 characters is cut.
    """

    id: str
    time: float
    endpoint: str
    key: str
    asked: str
    status: int
    model: str = ""
    upstream: str = ""
    response_id: str | None = None
    decision_id: str | None = None
    router: str = ""
    routed_by: str = ""
    reason: str = ""
    level: int = 0
    confidence: float | None = None
    scores: Mapping[str, float] | None = None
    role: str = "chat"
    session: str = ""
    stream: bool = False
    attempts: int = 0
    fallbacks: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost: float | None = None
    baseline_cost: float | None = None
    latency: float = 0.0
    ttft: float | None = None
    error: str = ""
    query_hash: str | None = None
    query_text: str | None = None
    artifact_version: str = ""
    variant: str = ""
    guessed: bool = False
    guessed_cost: float = 0.0
    tool_selection: str = ""
    tools_before: int = 0
    tools_sent: int = 0
    tool_tokens_saved: int = 0
    tool_searches: int = 0
    hops: str = ""
    user: str = ""
    team: str = ""
    project: str = ""
    tags: tuple[str, ...] = ()
    agent: str = ""
    route: str = ""
    guarantee: str = ""
    agents_failed: tuple[str, ...] = ()
    removed: Mapping[str, str] = {}
