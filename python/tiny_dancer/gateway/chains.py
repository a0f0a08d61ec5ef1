"""A request on its way through a chain of the configuration: rules, routes, a router, a judge, a person.

The walk is the library's (:mod:`tiny_dancer.routing.walk`), and so is what its steps say; here they are asked with
what a gateway knows: the key's owner, its routers with all constraints, its models through the proxy, its queue.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tiny_dancer.budgets.clock import steady
from tiny_dancer.errors import ModelError, QueueError, RequestError, StorageError
from tiny_dancer.gateway.account.guess import prompt_tokens
from tiny_dancer.gateway.asking import GatewayModel
from tiny_dancer.gateway.choosing.asked import asked_by, refused
from tiny_dancer.gateway.choosing.plan import Choice
from tiny_dancer.gateway.choosing.targets import ChainTarget, agent_of
from tiny_dancer.gateway.configuration.check import as_answer, as_rule
from tiny_dancer.gateway.configuration.settings import USUAL_OUTPUT_TOKENS
from tiny_dancer.gateway.errors import GatewayError, embeddings_not_routed
from tiny_dancer.gateway.upstream.deployments import ServedModel
from tiny_dancer.gateway.upstream.dialect import Usage
from tiny_dancer.routing.awaiting import Awaiting
from tiny_dancer.routing.chain import (
    Asked,
    answered,
    ask_routes,
    ask_rules,
    judge_choices,
    judge_routes,
    learned,
)
from tiny_dancer.routing.requests import conversation
from tiny_dancer.routing.semantic import User
from tiny_dancer.routing.tasks import TaskClassifier
from tiny_dancer.routing.walk import CannedAnswer, Link, Outcome, chain_of, in_words, walk
from tiny_dancer.storage import QueuedRequest
from tiny_dancer.storage.values import storable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from tiny_dancer.gateway.access.caller import Caller
    from tiny_dancer.gateway.account.progress import Progress
    from tiny_dancer.gateway.choosing.incoming import Incoming
    from tiny_dancer.gateway.choosing.plan import Plan
    from tiny_dancer.gateway.choosing.serving import ServedRoutes, Serving
    from tiny_dancer.gateway.configuration import settings as config
    from tiny_dancer.gateway.services import Services
    from tiny_dancer.storage import QueueStorage

# What a person reads of a request, by its fields in any dialect.
_READ: Final = ("system", "instructions", "messages", "input", "prompt", "tools")
_NOT_ASKED: Final = Outcome(None, "not asked: nothing is called here")


class Walking(Asked):
    """A request on its way.

    Attributes:
        services: of the process.
        progress: of the request; None where it is only asked where it would go.
        incoming: what the client sent.
        caller: who asks.
        serving: the configuration in force.
        plan: what the router of a learned step decided.
    """

    __slots__ = ("caller", "incoming", "plan", "progress", "services", "serving")

    def __init__(
        self,
        services: Services,
        serving: Serving,
        progress: Progress | None,
        incoming: Incoming,
        caller: Caller,
        text: str,
        headers: Mapping[str, str],
    ) -> None:
        key = caller.key
        user = None if key is None else User(key.name, key.tier, key.tags)
        super().__init__(text, user, steady(), headers=headers)
        self.services, self.serving, self.progress = services, serving, progress
        self.incoming, self.caller = incoming, caller
        self.plan: Plan | None = None


class Chains:
    """Asks the chains of the configuration in force. Belongs to the event loop's thread."""

    def __init__(self, queue: QueueStorage) -> None:
        """``queue``: where requests wait for people."""
        self._awaiting = Awaiting(queue)
        self._links: tuple[Serving, Mapping[str, Link[Walking]]] | None = None
        self._languages: TaskClassifier | None = None

    async def choose(
        self,
        services: Services,
        serving: Serving,
        chain: str,
        incoming: Incoming,
        caller: Caller,
        headers: Sequence[tuple[bytes, bytes]],
        progress: Progress | None,
    ) -> Choice:
        """What a chain decides about a request.

        Args:
            services: of the process.
            serving: the configuration in force.
            chain: its name.
            incoming: the request.
            caller: who asks.
            headers: of the request, as they came.
            progress: of the request; None where it is only asked where it would go: then no model is called, and
                nothing is put into the queue.

        Raises:
            GatewayError: 400; it cannot be read, or is one that is not routed.
        """
        if incoming.endpoint == "embeddings":
            raise embeddings_not_routed()
        links = self._of(serving)
        given = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
        asked = Walking(services, serving, progress, incoming, caller, _text(incoming), given)
        if asked.text.strip() and _depends_on_language(serving):
            asked.language = self._language(asked.text)
        able = asked_by(serving, incoming, caller)

        def refuses(target: str | CannedAnswer) -> str | None:
            if isinstance(target, CannedAnswer):
                return None
            # An artifact that came later may lead to what is not there.
            if (unknown := serving.unknown(target)) is not None:
                return unknown
            if leads(target) is not None:
                return None
            return refused(able, target) or _too_dear(serving, incoming, target)

        through: dict[str, str] = {}

        def leads(target: object) -> str | None:
            found = chain_of(target)
            if found is None and isinstance(target, str) and (agent := agent_of(target)) is not None:
                stands = serving.names.get(target)
                if isinstance(stands, ChainTarget):
                    through[stands.chain] = agent
                    return stands.chain
            return found

        target, hops, _, intent = await walk(links, chain, asked, refuses, asked.hops, leads)
        step = next(hop.step for hop in reversed(hops) if hop.chose)
        plan = asked.plan if step == "learned" else None
        agent = through.get(hops[-1].chain, "")
        if agent and step != "human" and serving.agents.records[agent].agent.type == "human":
            agent = ""  # nobody has answered: whoever does is another
        return Choice(target, step, hops, plan, intent, agent)

    def _of(self, serving: Serving) -> Mapping[str, Link[Walking]]:
        """The chains of a configuration, made when it is first asked."""
        if self._links is None or self._links[0] is not serving:
            links = {name: self._link(name, chain, serving) for name, chain in serving.chains.items()}
            self._links = (serving, links)
        return self._links[1]

    def _link(self, name: str, chain: config.Chain, serving: Serving) -> Link[Walking]:
        steps: list[tuple[str, Callable[[Walking], Outcome | Awaitable[Outcome]]]] = []
        if chain.override:
            steps.append(("override", partial(ask_rules, tuple(map(as_rule, chain.override)))))
        routes = None if chain.semantic is None else serving.routes[chain.semantic.routes]
        if chain.semantic is not None and routes is not None:
            steps.append(("semantic", partial(_ask_routes, chain.semantic, routes)))
        if chain.learned is not None:
            steps.append(("learned", partial(_ask_router, chain.learned.router)))
        if chain.judge is not None:
            steps.append(("judge", partial(_ask_judge, chain.judge, routes)))
        if chain.human is not None:
            steps.append(("human", partial(self._ask_people, chain.human, name)))
        return Link(name, steps, as_answer(chain.default))

    def _language(self, text: str) -> str | None:
        """ISO 639-1, as the package's classifier of tasks tells it; None where it cannot."""
        if self._languages is None:
            self._languages = TaskClassifier.default()
        try:
            return self._languages.predict([text])[0].language
        except RequestError:
            return None

    def _ask_people(self, step: config.HumanStep, chain: str, asked: Walking) -> Outcome | Awaitable[Outcome]:
        if asked.progress is None:
            return _NOT_ASKED
        if asked.queued is not None:
            return Outcome(None, f"in the queue already as {asked.queued}")
        return self._queue(step, chain, asked)

    async def _queue(self, step: config.HumanStep, chain: str, asked: Walking) -> Outcome:
        assert asked.progress is not None
        storage, fields = asked.services.storage, asked.incoming.fields
        context = msgspec.json.encode({name: fields[name] for name in _READ if name in fields})
        try:
            queued = QueuedRequest(
                time=asked.progress.arrived,
                expires_at=steady() + step.expires,
                context=storable(context.decode()),
                said=storable(asked.text[:1000]),
                chain=chain,
                key=asked.caller.id,
                hops=in_words(asked.hops),
            )
            if not await asyncio.to_thread(storage.enqueue, queued, most=step.most):
                return Outcome(None, f"{step.most:,} wait already")
        except (QueueError, StorageError) as error:
            return Outcome(None, f"not queued: {error.value}")
        asked.queued = asked.progress.queued = queued.id
        if not step.wait:
            return Outcome(None, f"in the queue as {queued.id}")
        return answered(await self._awaiting.wait(queued.id, step.wait), queued.id, step.wait)


def withdraw(storage: QueueStorage, id: str) -> None:
    """Takes a request out of the queue whose client has gone."""
    with suppress(QueueError, StorageError):  # answered in the very instant
        storage.cancel_request(id, "its client, gone")


def _ask_routes(step: config.SemanticStep, routes: ServedRoutes, asked: Walking) -> Outcome:
    return ask_routes(
        routes.serving, step.confidence, asked, uncalibrated=step.uncalibrated, targets=routes.targets
    )


def _ask_router(router: str, asked: Walking) -> Outcome:
    try:
        plan = asked.services.chooser.by_router(asked.serving, asked.incoming, asked.caller, router)
    except GatewayError as error:
        if error.code != "no_feasible_model":
            raise
        return Outcome(None, "no model meets the constraints")
    if plan.decision is None:
        return Outcome(None, "no text")
    found = learned(plan.decision)
    if found.target is None:
        return found
    asked.plan, plan.decision = plan, found.detail
    return Outcome(plan.model.name, found.why, plan.decision)


def _ask_judge(
    step: config.JudgeStep, routes: ServedRoutes | None, asked: Walking
) -> Outcome | Awaitable[Outcome]:
    if not asked.text.strip():
        return Outcome(None, "no text")
    if asked.progress is None:
        return _NOT_ASKED
    ask = _Judge(step, asked)
    if step.choices is not None:
        return judge_choices(ask, step.choices, asked, None)
    assert routes is not None, "checked by the configuration"
    return judge_routes(ask, routes.serving, asked, None, routes.targets)


def _depends_on_language(serving: Serving) -> bool:
    return any("language" in routes.serving.depends_on for routes in serving.routes.values())


class _Judge:
    """The judge's model, asked on the client's behalf: its calls are rows of their own."""

    def __init__(self, step: config.JudgeStep, asked: Walking) -> None:
        assert asked.progress is not None
        self._timeout = step.timeout
        self._model = GatewayModel(
            asked.services,
            asked.serving,
            asked.caller,
            step.model,
            timeout=step.timeout,
            purpose="judge",
            trace=asked.progress.trace,
            payers=asked.progress.payers,
        )

    async def __call__(self, messages: Sequence[Mapping[str, Any]], schema: Mapping[str, Any]) -> dict[str, Any]:
        """See :class:`tiny_dancer.routing.ask.Ask`."""
        try:
            return await self._model(messages, schema)
        except ModelError as error:
            cause = error.__cause__
            if isinstance(cause, GatewayError) and cause.code == "model_timeout":
                raise TimeoutError(f"timed out after {self._timeout:g} s") from None
            raise


def _text(incoming: Incoming) -> str:
    """What the user said last; empty where that is no text.

    Raises:
        GatewayError: 400, the messages cannot be read.
    """
    try:
        return conversation(incoming.words(), incoming.tools()).said
    except RequestError as error:
        if error.field in ("text", "request"):
            return ""
        field = incoming.field(error.field)
        raise GatewayError(
            400, f"Invalid {field}: {error.value}; {error.remedy}.", param=field, code="invalid_value"
        ) from error


def _too_dear(serving: Serving, incoming: Incoming, target: str) -> str | None:
    """Whether the likely cost of a model is above what the request allows; a router keeps to it itself."""
    most = incoming.options.max_cost
    model = None if most is None else serving.resolve(target)
    if most is None or not isinstance(model, ServedModel):
        return None
    tokens = model.settings.expected_output_tokens or USUAL_OUTPUT_TOKENS
    cost = model.cost(Usage(prompt_tokens(incoming), round(tokens)))
    if cost is None:
        return "it has no price, and max_cost is asked for"
    return f"about {cost:.3g} USD, above max_cost" if cost > most else None
