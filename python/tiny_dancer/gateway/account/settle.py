"""What a request came to: the record that storage, metrics, traces and log read, and what its key has used."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tiny_dancer.gateway.account.billed import completed
from tiny_dancer.gateway.account.funding import beside, searched
from tiny_dancer.gateway.account.tokens import tokens_saved
from tiny_dancer.gateway.upstream.dialect import Usage
from tiny_dancer.storage import hash_query
from tiny_dancer.types import RequestRecord

if TYPE_CHECKING:
    from tiny_dancer.gateway.account.background import Accounting
    from tiny_dancer.gateway.account.progress import Progress
    from tiny_dancer.gateway.choosing.chooser import Chooser
    from tiny_dancer.observability.metrics import Metrics

_NO_USAGE = Usage()


def settle(
    progress: Progress, accounting: Accounting, metrics: Metrics, chooser: Chooser, *, kept: bool = True
) -> None:
    """Records a request that has ended, and charges it to its key, its deployment and its conversation.

    Args:
        progress: the request.
        accounting: takes its record.
        metrics: count it where accounting does not get it.
        chooser: remembers the conversation.
        kept: whether it becomes a row: strangers are counted, but cannot fill the database.
    """
    plan, done, incoming = progress.plan, progress.attempts, progress.incoming
    caller, model, deployment = progress.caller, done.model, done.deployment
    usage, guessed = progress.billed or completed(progress.usage, progress)
    answered = progress.first is not None and model is not None
    cost = baseline = None
    if plan is not None and model is not None and usage is not None:
        cost = model.cost(usage)
        baseline = cost if plan.baseline is model or not plan.router else plan.baseline.cost(usage)
    elif progress.free:
        cost = baseline = 0.0
    guessed_cost = cost or 0.0 if guessed else 0.0
    paid = {} if model is None or cost is None else {model.name: cost}
    if done.lost or done.given_up or done.before:
        # Paid beside the answer that took their place, whatever model that is of: no other would have saved it.
        others = beside(progress)
        for name, amount in others.paid.items():
            paid[name] = paid.get(name, 0.0) + amount
            cost = (cost or 0.0) + amount
            baseline = cost if usage is None or baseline is None else baseline + amount
        guessed_cost += others.guessed
        guessed = guessed or bool(done.lost) or others.guessed > 0
    paid_for = answered or usage is not None or bool(done.lost) or bool(done.before)
    decision = None if plan is None else plan.decision
    counted = usage or _NO_USAGE
    if done.before:
        more = searched(progress)
        counted = Usage(
            counted.input_tokens + more.input_tokens,
            counted.output_tokens + more.output_tokens,
            counted.cached_tokens + more.cached_tokens,
        )
    first = progress.first
    tools = progress.tools
    session = None if incoming is None else incoming.options.session
    record = RequestRecord(
        id=progress.id,
        time=progress.arrived,
        endpoint=progress.endpoint,
        key="" if caller is None else caller.id,
        asked="" if incoming is None else incoming.asked,
        status=progress.status,
        model=model.name if paid_for and model is not None else "",
        upstream=deployment.server.name if (paid_for or first is not None) and deployment is not None else "",
        response_id=progress.answer_id,
        decision_id=None if decision is None else decision.id,
        router="" if plan is None else plan.router,
        routed_by="" if plan is None else plan.routed_by,
        reason="" if plan is None else done.reason or plan.reason,
        level=0 if decision is None else decision.level,
        confidence=None if decision is None else decision.confidence,
        scores=None if decision is None else decision.scores,
        role="chat" if plan is None else plan.asked.role,
        session=hash_query(session) if session else "",
        stream=incoming is not None and incoming.stream,
        attempts=done.calls,
        fallbacks=done.fallbacks,
        input_tokens=counted.input_tokens,
        output_tokens=counted.output_tokens,
        cached_tokens=counted.cached_tokens,
        cost=cost,
        baseline_cost=baseline,
        latency=time.perf_counter() - progress.start,
        ttft=None if first is None else first - progress.start,
        error=progress.error,
        query_hash=None if plan is None or not plan.said else hash_query(plan.said),
        query_text=plan.said if plan is not None and progress.serving.config.log.prompts else None,
        artifact_version="" if decision is None else decision.artifact_version,
        variant="" if plan is None else plan.variant,
        guessed=guessed,
        guessed_cost=guessed_cost,
        hops="" if plan is None or not plan.hops else plan.route,
        tool_selection="" if tools is None else tools.how,
        tools_before=0 if tools is None else tools.before,
        tools_sent=0 if tools is None else tools.sent,
        tool_tokens_saved=0 if tools is None else tokens_saved(tools),
        tool_searches=0 if tools is None else tools.searches,
        user=progress.payers.user,
        team=progress.payers.team,
        project=progress.payers.project,
        tags=progress.payers.tags,
        route="" if plan is None else plan.intent,
        agent="" if plan is None else plan.agent_of(model),
        guarantee="" if plan is None else plan.covered(model if answered else None) or "",
        agents_failed=_failed(progress),
        removed=progress.removed if plan is None else plan.removed(done.passed_over),
    )
    if kept:
        accounting.put(record)
    else:
        metrics.observe((record,))
    tokens = counted.input_tokens + counted.output_tokens
    if plan is not None:
        plan.release(tokens)
    if progress.purse is not None:
        progress.purse.settle(tokens, paid)
    elif caller is not None and caller.limited:
        caller.charge(tokens, paid)
    if (usage is not None or done.before) and plan is not None and model is not None:
        if deployment is not None:
            deployment.charge(tokens)
        if plan.session is not None and answered:
            # In the cache is the last prompt, and not all of them.
            last = counted if usage is None else usage
            chooser.answered(plan, model.name, last.input_tokens + last.output_tokens)
    if progress.trace is not None:
        progress.trace.end(record)


def _failed(progress: Progress) -> tuple[str, ...]:
    """Agents that were asked and did not answer, or not to the end."""
    plan, done = progress.plan, progress.attempts
    found = list(progress.failed)
    if plan is not None:
        found += map(plan.agent_of, done.failed)
    return tuple(dict.fromkeys(filter(None, found)))
