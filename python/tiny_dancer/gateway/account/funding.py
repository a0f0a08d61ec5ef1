"""Reserving what a request can cost, model by model as they are tried, and what it has cost by then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from tiny_dancer.gateway.access.purse import is_of_agent
from tiny_dancer.gateway.account.guess import Guess
from tiny_dancer.gateway.account.tokens import Prompt
from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.upstream.dialect import Usage
from tiny_dancer.types import RequestRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tiny_dancer.gateway.access.purse import Purse
    from tiny_dancer.gateway.account.background import Accounting
    from tiny_dancer.gateway.account.progress import Progress
    from tiny_dancer.gateway.upstream.deployments import ServedModel


def prompt_of(progress: Progress) -> Prompt | None:
    """What is known of a request's prompt; None before there is a plan."""
    if progress.prompt is None and progress.incoming is not None and progress.plan is not None:
        progress.prompt = Prompt(progress.incoming, progress.plan)
    return progress.prompt


class Beside(NamedTuple):
    """What a request has cost beside the answer that is served.

    Attributes:
        paid: USD by model.
        guessed: of that, USD.
    """

    paid: Mapping[str, float]
    guessed: float


_NOTHING: Final = Beside({}, 0.0)


def beside(progress: Progress) -> Beside:
    """Calls that failed when the upstream may have worked, by a guess, of the prompt alone; answers given up;
    those that only searched for tools."""
    done = progress.attempts
    if not (done.lost or done.given_up or done.before) or (prompt := prompt_of(progress)) is None:
        return _NOTHING
    paid: dict[str, float] = {}
    guessed = 0.0
    used = [(model, Usage(prompt.tokens(model), 0), True) for model in done.lost]
    used += [(each.model, each.usage, each.guessed) for each in done.before if each.usage is not None]
    for each in done.given_up:
        answer = each.found.answer
        usage = answer.usage or Usage(prompt.tokens(each.model), Guess(answer.body).tokens())
        used.append((each.model, usage, answer.usage is None))
    for model, usage, is_guess in used:
        if cost := model.cost(usage):
            paid[model.name] = paid.get(model.name, 0.0) + cost
            guessed += cost if is_guess else 0.0
    return Beside(paid, guessed)


def searched(progress: Progress) -> Usage:
    """Tokens of the calls that only searched for tools, all together."""
    total = [0, 0, 0]
    for each in progress.attempts.before:
        if (used := each.usage) is not None:
            total[0] += used.input_tokens
            total[1] += used.output_tokens
            total[2] += used.cached_tokens
    return Usage(total[0], total[1], cached_tokens=total[2])


class Funding:
    """Has a request's purse pay for its calls; see :class:`tiny_dancer.gateway.upstream.proxy.Attempts`."""

    def __init__(self, progress: Progress, purse: Purse, accounting: Accounting) -> None:
        """Reserves nothing yet.

        Args:
            progress: of the request; there is a plan.
            purse: its own.
            accounting: is told what the request comes to where nobody sees its end.

        Raises:
            GatewayError: 403, nobody here will see what it costs.
        """
        incoming = progress.incoming
        background = None if incoming is None else incoming.fields.get("background")
        if background is not None and bytes(background) == b"true":
            raise GatewayError(
                403,
                "The gateway does not see what a response made in the background costs: who has a budget may make "
                "none.",
                param="background",
                code="background_not_allowed",
            )
        self._progress, self._purse = progress, purse
        self._accounting = accounting

    async def opens(self, model: ServedModel) -> GatewayError | None:
        """Reserves what a first call of this model needs, and lets go of what was for another; where the budget of
        the agent it answers as has too little left, as the next agent that leads to it. Why not, where it does not
        fit."""
        plan = self._progress.plan
        assert plan is not None
        refused: GatewayError | None = None
        while True:
            try:
                await self.onward(model)
            except GatewayError as error:
                refused = refused or error
                if not is_of_agent(error) or not plan.turn(model):
                    return refused
            else:
                return None

    async def onward(self, model: ServedModel) -> None:
        """Reserves one more call, beside what the request has cost so far.

        Raises:
            GatewayError: 429, that does not fit.
        """
        self._purse.shrink(beside(self._progress).paid)
        await self.reserve(model)

    async def again(self, model: ServedModel) -> bool:
        """Whether one more call can be paid for, beside one that failed and may have cost something."""
        try:
            await self.reserve(model)
        except GatewayError:
            return False
        return True

    async def reserve(self, model: ServedModel) -> None:
        """Reserves the most a call of this model can cost, in addition to what is held.

        Raises:
            GatewayError: 429, that does not fit.
        """
        progress = self._progress
        prompt = prompt_of(progress)
        assert prompt is not None
        cost = prompt.most_cost(model)
        assert progress.plan is not None
        await self._purse.reserve(model.name, cost, progress.plan.agent_of(model))
        if cost is not None:  # a model without a price costs nothing, as far as budgets know
            begin(progress, self._accounting, model)


def begin(progress: Progress, accounting: Accounting, model: ServedModel) -> None:
    """Says what a request comes to where nobody sees the end of a call of this model that is about to be made."""
    caller, incoming, plan, prompt = progress.caller, progress.incoming, progress.plan, prompt_of(progress)
    assert caller is not None
    assert incoming is not None
    assert plan is not None
    assert prompt is not None
    likely, before = prompt.likely(model), searched(progress)
    guessed = sum(beside(progress).paid.values()) + (model.cost(likely) or 0.0)
    accounting.begin(
        RequestRecord(
            id=progress.id,
            time=progress.arrived,
            endpoint=progress.endpoint,
            key=caller.id,
            asked=incoming.asked,
            status=500,
            model=model.name,
            router=plan.router,
            routed_by=plan.routed_by,
            reason=plan.reason,
            role=plan.asked.role,
            stream=incoming.stream,
            attempts=progress.attempts.calls + 1,
            fallbacks=progress.attempts.fallbacks,
            input_tokens=likely.input_tokens + before.input_tokens,
            output_tokens=likely.output_tokens + before.output_tokens,
            cost=guessed,
            baseline_cost=guessed,
            error="process_killed",
            variant=plan.variant,
            guessed=True,
            guessed_cost=guessed,
            user=progress.payers.user,
            team=progress.payers.team,
            project=progress.payers.project,
            tags=progress.payers.tags,
            route=plan.intent,
            agent=plan.agent_of(model),
        )
    )
