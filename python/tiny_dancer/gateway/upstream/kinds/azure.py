"""Azure OpenAI: OpenAI's protocol under another address, with another header for the key.

Without ``api_version`` the address is that of the v1 interface, which takes the deployment as ``model``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

from tiny_dancer.gateway.upstream.kinds import openai

if TYPE_CHECKING:
    from tiny_dancer.gateway.configuration import settings as config
    from tiny_dancer.gateway.upstream.dialect import Dialect, Endpoint


_WITHOUT_DEPLOYMENT: Final = ("/responses", "/files", "/batches")


def dialect(endpoint: Endpoint, version: str | None = None) -> Dialect | None:
    """As OpenAI's."""
    del version  # it changes nothing about what is said
    return openai.dialect(endpoint)


def url(upstream: config.Upstream, model: str, path: str) -> str:
    """``/openai/deployments/<deployment>`` and the version as a query; responses, files and batches have no
    deployment in the path."""
    base = upstream.base_url.rstrip("/")
    if upstream.api_version is None:
        return f"{base}/openai/v1{path}"
    query = urlencode({"api-version": upstream.api_version})
    if path.startswith(_WITHOUT_DEPLOYMENT):
        return f"{base}/openai{path}?{query}"
    return f"{base}/openai/deployments/{quote(model, safe='')}{path}?{query}"


def headers(upstream: config.Upstream) -> list[tuple[str, str]]:
    """The key as ``api-key``, and what is configured."""
    key = [] if upstream.api_key is None else [("api-key", upstream.api_key)]
    return [*key, *upstream.headers.items()]
