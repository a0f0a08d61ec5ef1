"""The metrics that requests are counted in: names, labels, buckets. ``docs/guides/gateway.md`` lists them.

Names are those of OpenTelemetry's conventions for generative AI where they have one, as its exporter for
Prometheus writes them: dots become underscores, the unit is appended.
"""

from __future__ import annotations

from dataclasses import dataclass

from tiny_dancer.observability.conventions import DURATION_BOUNDS, FIRST_TOKEN_BOUNDS, TOKEN_BOUNDS

CONFIDENCE_BOUNDS = tuple(tenth / 10 for tenth in range(1, 11))


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: a histogram where it has bounds, else a counter where its name ends in ``_total``, else a gauge.

    Attributes:
        name: in Prometheus.
        help: what it says, one sentence.
        labels: names, in the order of a series' values.
        bounds: upper bounds of the buckets, without infinity.
    """

    name: str
    help: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...] = ()


_GEN_AI = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "gen_ai_response_model")

DURATION = Family(
    "gen_ai_server_request_duration_seconds",
    "Time from a request's arrival to the last byte of its answer.",
    (*_GEN_AI, "error_type"),
    DURATION_BOUNDS,
)
FIRST_TOKEN = Family(
    "gen_ai_server_time_to_first_token_seconds",
    "Time from a request's arrival to the first byte of its answer, of streamed answers that succeeded.",
    _GEN_AI,
    FIRST_TOKEN_BOUNDS,
)
TOKENS = Family(
    "gen_ai_client_token_usage",
    "Tokens of a request; input includes what the upstream had cached.",
    (*_GEN_AI, "gen_ai_token_type"),
    TOKEN_BOUNDS,
)
REQUESTS = Family(
    "tiny_dancer_requests_total",
    "Requests by the status their client saw; 499 where it went away.",
    ("endpoint", "role", "model", "status"),
)
ROUTED = Family(
    "tiny_dancer_routed_total",
    "Requests by what chose the model, and the model that served.",
    ("router", "routed_by", "model"),
)
CONFIDENCE = Family(
    "tiny_dancer_decision_confidence",
    "Calibrated probability that no other model would have been better.",
    ("router",),
    CONFIDENCE_BOUNDS,
)
LEVEL = Family(
    "tiny_dancer_fallback_level_total",
    "Decisions by level: 0 as learned, 1 cached, 2 heuristic, 3 default.",
    ("router", "level"),
)
ATTEMPTS = Family("tiny_dancer_upstream_attempts_total", "Calls to upstreams.", ())
FALLBACKS = Family(
    "tiny_dancer_fallbacks_total", "Models given up on before the one that served, by that one.", ("model",)
)
CACHED = Family(
    "tiny_dancer_cached_input_tokens_total", "Input tokens that the upstream had cached, by model.", ("model",)
)
SPEND = Family("tiny_dancer_spend_usd_total", "USD spent on requests whose cost is known.", ("model",))
BASELINE = Family(
    "tiny_dancer_baseline_usd_total",
    "USD that the strongest model would have cost for the requests counted as spend, by the model that served.",
    ("model",),
)
TOOLS = Family(
    "tiny_dancer_tools_total",
    "Tools of requests some were selected for: that the client sent, that the model got.",
    ("router", "stage"),
)
TOOL_TOKENS_SAVED = Family(
    "tiny_dancer_tool_tokens_saved_total", "Input tokens saved by leaving out tools, guessed.", ("router",)
)
LINES_LOST = Family("tiny_dancer_log_lines_lost_total", "Lines of the request log that could not be written.", ())

FAMILIES = (
    DURATION,
    FIRST_TOKEN,
    TOKENS,
    REQUESTS,
    ROUTED,
    CONFIDENCE,
    LEVEL,
    ATTEMPTS,
    FALLBACKS,
    CACHED,
    SPEND,
    BASELINE,
    TOOLS,
    TOOL_TOKENS_SAVED,
    LINES_LOST,
)
