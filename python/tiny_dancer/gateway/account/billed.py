"""What an answer is billed for: as the upstream says, and what it leaves unsaid as guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tiny_dancer.gateway.account.guess import prompt_tokens
from tiny_dancer.gateway.account.tokens import asked_tier
from tiny_dancer.gateway.upstream.dialect import Usage

if TYPE_CHECKING:
    from tiny_dancer.gateway.account.progress import Progress


def completed(usage: Usage | None, progress: Progress) -> tuple[Usage | None, bool]:
    """What an answer was billed for, and whether a part of that is a guess.

    A side that the upstream has not counted, though there was something to count, is guessed; so is all where it
    says nothing. The tier of service is the answer's, or else what was asked for. None where nothing was answered,
    and no call was under way that may have been: of such a one the prompt is.
    """
    incoming = progress.incoming
    if incoming is not None and usage is not None and not usage.tier and (tier := asked_tier(incoming)):
        usage = msgspec.structs.replace(usage, tier=tier)
    if usage is not None and usage.input_tokens and usage.output_tokens:
        return usage, False
    if incoming is None or (progress.guess is None and progress.attempts.calling is None):
        return usage, False
    found = usage or Usage(tier=asked_tier(incoming))
    prompt, output = found.input_tokens, found.output_tokens
    if not prompt:
        model = progress.attempts.model
        window = None if model is None else model.settings.context_window
        prompt = prompt_tokens(incoming)
        # It was answered: it is no longer than the model can read.
        prompt = prompt if window is None else min(prompt, window)
    if not output and progress.endpoint != "embeddings" and progress.guess is not None:
        output = progress.guess.tokens()
    if usage is not None and (prompt, output) == (usage.input_tokens, usage.output_tokens):
        return usage, False
    return msgspec.structs.replace(found, input_tokens=prompt, output_tokens=output), True
