"""OpenTelemetry's words for generative AI, and how the gateway's own map onto them.

From the semantic conventions for generative AI (status: development), as after version 1.37, which renamed
``gen_ai.system`` to ``gen_ai.provider.name``: https://opentelemetry.io/docs/specs/semconv/gen-ai/
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tiny_dancer.types import RequestRecord

OPERATIONS = {
    "chat.completions": "chat",
    "responses": "chat",
    "messages": "chat",
    "completions": "text_completion",
    "embeddings": "embeddings",
    # What the gateway itself asks a model; questions, with or without one.
    "judge": "chat",
    "decide": "decide",
    # What is passed on; the convention has no word for these, and leaves custom ones free.
    "moderations": "moderation",
    "rerank": "rerank",
    "audio.speech": "speech",
    "audio.transcriptions": "transcription",
    "audio.translations": "translation",
    "images.generations": "image_generation",
    "images.edits": "image_edit",
    "images.variations": "image_variation",
    "files": "files",
    "batches": "batches",
    "responses.stored": "stored_response",
    "messages.count_tokens": "count_tokens",
}
"""``gen_ai.operation.name`` by endpoint."""

PROVIDERS = {"openai": "openai", "azure": "azure.ai.openai", "anthropic": "anthropic"}
"""``gen_ai.provider.name`` by kind of upstream: the protocol it speaks, whoever runs it."""

STREAM_CUT = "stream_cut"
"""``error.type`` of a request that had its status sent before it failed."""

UNKNOWN_ERROR = "_OTHER"
"""``error.type`` where no word of a bounded list fits; the convention's own."""

# 499: the client went away (nginx's); 520-529: CDNs in front of an upstream, 529 Anthropic's overload as well.
STATUSES = {code: str(code) for code in [*(int(status) for status in HTTPStatus), 499, *range(520, 530)]}
"""Statuses of HTTP in use, as label values."""

DURATION_BOUNDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
"""Seconds; the buckets the convention asks for."""

FIRST_TOKEN_BOUNDS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Seconds; the buckets the convention asks for."""

TOKEN_BOUNDS = tuple(float(4**power) for power in range(14))
"""Tokens; the buckets the convention asks for, 1 to 4¹³."""


def error_type(record: RequestRecord) -> str:
    """``error.type`` of a request, one of a bounded list; empty where it succeeded."""
    if record.status >= 400:
        return STATUSES.get(record.status, UNKNOWN_ERROR)
    return STREAM_CUT if record.error else ""
