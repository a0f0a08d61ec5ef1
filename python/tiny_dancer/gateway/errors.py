"""What a client is told when its request cannot be served: OpenAI's shape, or Anthropic's on ``/v1/messages``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Anthropic's error types, by status; other 4xx are invalid_request_error, other 5xx api_error.
_ANTHROPIC = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_STRUCK = "***"


class GatewayError(Exception):
    """An answer that is an error. Never crosses the gateway's border as an exception.

    Attributes:
        status: of HTTP.
        message: what is wrong, and what to do about it.
        type: OpenAI's word for the kind (``invalid_request_error`` …).
        param: the request's field at fault, or None.
        code: a stable word for programs, or None.
        headers: sent along (``retry-after``, ``allow`` …).
        details: what else an upstream says of its error, by its names (``metadata``, ``innererror`` …).
        removed: what removed whom, where nobody was left to choose.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str | None = None,
        param: str | None = None,
        code: str | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        details: Mapping[str, Any] | None = None,
        removed: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message
        self.type = type or _openai_type(status)
        self.param = param
        self.code = code
        self.headers = headers
        self.details: Mapping[str, Any] = details or {}
        self.removed: Mapping[str, str] = removed or {}

    def openai(self) -> bytes:
        """``{"error": {message, type, param, code}}`` as JSON, with the details among them."""
        own = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return msgspec.json.encode({"error": own | dict(self.details)})

    def anthropic(self) -> bytes:
        """``{"type": "error", "error": {type, message}}`` as JSON, with the details among them."""
        usual = "invalid_request_error" if self.status < 500 else "api_error"
        own = {"type": _ANTHROPIC.get(self.status, usual), "message": self.message}
        return msgspec.json.encode({"type": "error", "error": own | dict(self.details)})

    def strike(self, secrets: Iterable[str]) -> None:
        """Takes secrets out of all that is said: an upstream may repeat the key it was sent."""
        for secret in secrets:
            for name, value in vars(self).items():
                setattr(self, name, struck(value, secret))


class AnswerCut(Exception):  # noqa: N818
    """An answer that has begun cannot be completed: its connection ends, so that the client sees that."""


def storage_unavailable() -> GatewayError:
    """503: what was asked for is in the database, which does not answer."""
    return GatewayError(
        503,
        "The database does not answer; try again.",
        type="server_error",
        code="storage_unavailable",
        headers=((b"retry-after", b"1"),),
    )


def embeddings_not_routed() -> GatewayError:
    """400: a router or chain was named for embeddings."""
    return GatewayError(
        400,
        "Embeddings of different models cannot be compared, so they are not routed; name a model, or set "
        "roles.embed.model.",
        param="model",
        code="not_routable",
    )


def struck(value: Any, secret: str) -> Any:
    """The value without the secret, wherever in it that stands."""
    if isinstance(value, str):
        return value.replace(secret, _STRUCK)
    if isinstance(value, bytes):
        found = value.replace(secret.encode(), _STRUCK.encode())
        return found.replace(msgspec.json.encode(secret)[1:-1], _STRUCK.encode())  # as it stands in JSON
    if isinstance(value, msgspec.Raw):
        return msgspec.Raw(struck(bytes(value), secret))
    if isinstance(value, dict):
        return {struck(key, secret): struck(each, secret) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(struck(each, secret) for each in value)
    return value


def _openai_type(status: int) -> str:
    if status == 401:
        return "authentication_error"
    if status == 403:
        return "permission_error"
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"
