"""Asking a model of the configuration for an answer that fits a JSON schema, on a client's behalf.

It goes the way of any request: the client's key must be allowed the model and pay for it, the proxy tries its
deployments, and what it took is in a record: that of the request it is for (:func:`ask`), or its own
(:class:`GatewayModel`).
"""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import msgspec

from tiny_dancer.errors import ModelError
from tiny_dancer.gateway.access.purse import purse_of
from tiny_dancer.gateway.account.billed import completed
from tiny_dancer.gateway.account.funding import Funding
from tiny_dancer.gateway.account.guess import Guess
from tiny_dancer.gateway.account.progress import Progress
from tiny_dancer.gateway.account.settle import settle
from tiny_dancer.gateway.choosing.incoming import NO_OPTIONS, Incoming
from tiny_dancer.gateway.edge.bodies import CLIENT_GONE
from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.http import deeper
from tiny_dancer.gateway.upstream.proxy import Whole
from tiny_dancer.routing.ask import FORMS, read_answer, read_completion, refuses_form, request_fields

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tiny_dancer.gateway.access.caller import Caller
    from tiny_dancer.gateway.access.payers import Payers
    from tiny_dancer.gateway.choosing.serving import Serving
    from tiny_dancer.gateway.services import Services
    from tiny_dancer.gateway.upstream.dialect import Answer, Endpoint
    from tiny_dancer.observability.traces import RequestTrace


async def ask(
    services: Services,
    progress: Progress,
    name: str,
    messages: Sequence[Mapping[str, Any]],
    schema: Mapping[str, Any],
    *,
    timeout: float,
    reason: str = "",
    trace: RequestTrace | None = None,
) -> dict[str, Any]:
    """Asks a model, and puts down in ``progress`` what that takes: it settles the account.

    Args:
        services: of the process.
        progress: of the request it is asked for, whose client was admitted.
        name: of a model or router, as clients may write it.
        messages: in the form of OpenAI's chat completions.
        schema: of a JSON object, checked by :func:`tiny_dancer.routing.schemas.check_schema`.
        timeout: seconds.
        reason: why this model, where the client did not name it.
        trace: to which the calls belong; it is not ended.

    Returns:
        the answer, which fits the schema.

    Raises:
        GatewayError: 4xx, there is no such model, or not for this key, or it cannot be paid for; 5xx, it did not
            answer, or not in time (``model_timeout``), or not so (``bad_model_answer``).
    """
    try:
        async with asyncio.timeout(timeout):
            return await _ask(services, progress, name, messages, schema, reason, trace)
    except TimeoutError:
        raise GatewayError(
            504,
            f"The model '{name}' did not answer in {timeout:g} seconds.",
            type="server_error",
            code="model_timeout",
        ) from None


async def call(
    services: Services,
    progress: Progress,
    incoming: Incoming,
    trace: RequestTrace | None,
    *,
    reason: str = "",
) -> Answer:
    """One call on behalf of a client, in its name and at its cost; what comes of it is in ``progress``.

    Args:
        services: of the process.
        progress: whose client was admitted; where it has a plan, that stays.
        incoming: what is asked; not streamed.
        trace: to which the call belongs; it is not ended.
        reason: why this model, where the client did not name it.

    Raises:
        GatewayError: it is not served.
    """
    caller = progress.caller
    assert caller is not None
    progress.incoming = incoming
    if progress.plan is None:
        purse = progress.purse = progress.purse or purse_of(caller, progress.payers, services.budgets)
        strongest = progress.serving.strongest
        incoming.cheaper = purse is not None and purse.cheaper(None if strongest is None else strongest.name)
        plan = progress.plan = services.chooser.plan(progress.serving, incoming, caller)
        if reason:
            plan.routed_by, plan.reason = "default", reason
    plan = progress.plan
    if progress.purse is not None:
        progress.attempts.funds = Funding(progress, progress.purse, services.accounting)
    extra = (deeper(progress.depth),) if plan.agents or plan.agent else ()
    found, _ = await services.proxy.send(plan.models(), incoming, extra, progress.attempts, trace)
    assert isinstance(found, Whole)
    answer = found.answer
    progress.usage, progress.answer_id = answer.usage, answer.id
    progress.guess = Guess(answer.body)
    progress.billed = completed(answer.usage, progress)
    return answer


async def _ask(
    services: Services,
    progress: Progress,
    name: str,
    messages: Sequence[Mapping[str, Any]],
    schema: Mapping[str, Any],
    reason: str,
    trace: RequestTrace | None,
) -> dict[str, Any]:
    for at in range(services.forms.get(name, 0), len(FORMS)):
        form = FORMS[at]
        fields = request_fields(name, messages, schema, form)
        raw = {field: msgspec.Raw(msgspec.json.encode(value)) for field, value in fields.items()}
        incoming = Incoming("chat.completions", raw, False, name, (), NO_OPTIONS)
        try:
            # Another form asks for as much: what is reserved is, and what is planned stays.
            answer = await call(services, progress, incoming, trace, reason=reason)
        except GatewayError as error:
            if at + 1 < len(FORMS) and refuses_form(error.status, f"{error.message} {error.param}"):
                continue
            raise
        services.forms[name] = at
        try:
            if answer.error is not None:
                raise ModelError(name, answer.error.message, "ask again")
            return read_answer(read_completion(answer.body, name), schema, name)
        except ModelError as error:
            raise bad_answer(error) from error
    raise AssertionError("the last form returns or raises")


def bad_answer(error: ModelError) -> GatewayError:
    """An answer that is not as asked, as clients see it."""
    return GatewayError(
        502,
        f"The model '{error.field}' did not answer as asked: {error.value}; {error.remedy}.",
        type="server_error",
        code="bad_model_answer",
    )


class GatewayModel:
    """A model of the configuration as :class:`tiny_dancer.routing.ask.Ask`, for one client's request.

    Every call becomes a row of its own, beside that of the request it was made for.
    """

    def __init__(
        self,
        services: Services,
        serving: Serving,
        caller: Caller,
        name: str,
        *,
        timeout: float,
        purpose: str,
        trace: RequestTrace | None = None,
        payers: Payers | None = None,
        depth: int = 0,
    ) -> None:
        """``purpose``: endpoint and reason of its rows, such as ``judge``; ``payers``: of the client's request,
        its caller's where None; ``depth``: agents that have led to it; the rest as of :func:`ask`."""
        self._payers = caller.payers if payers is None else payers
        self._services, self._serving, self._caller = services, serving, caller
        self._timeout, self._purpose, self._trace = timeout, purpose, trace
        self._depth = depth
        self.name = name

    async def __call__(self, messages: Sequence[Mapping[str, Any]], schema: Mapping[str, Any]) -> dict[str, Any]:
        """See :class:`tiny_dancer.routing.ask.Ask`."""
        services = self._services
        # Its name is for the account alone, as that of what is passed on.
        progress = Progress(self._serving, cast("Endpoint", self._purpose))
        progress.caller, progress.payers, progress.depth = self._caller, self._payers, self._depth
        try:
            with on_record(services, progress):
                return await ask(
                    services,
                    progress,
                    self.name,
                    messages,
                    schema,
                    timeout=self._timeout,
                    reason=self._purpose,
                    trace=self._trace,
                )
        except GatewayError as error:
            raise ModelError(self.name, error.message, "name another model, or give it more time") from error


@contextmanager
def on_record(services: Services, progress: Progress) -> Iterator[None]:
    """Makes what happens within a row of its own, whatever comes of it, and charges whoever asks."""
    try:
        yield
        progress.status = 200
        progress.first = time.perf_counter()
    except GatewayError as error:
        progress.status, progress.error = error.status, error.code or error.type
        raise
    except asyncio.CancelledError:
        progress.status, progress.error = CLIENT_GONE, "client_disconnected"
        raise
    finally:
        try:
            settle(progress, services.accounting, services.metrics, services.chooser)
        finally:
            if progress.purse is not None:
                progress.purse.settle(0, {})
