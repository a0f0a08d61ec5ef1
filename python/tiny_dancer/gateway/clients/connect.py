"""Which client an upstream gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiny_dancer.gateway.clients.http1 import Http1Client
from tiny_dancer.gateway.clients.tls import TlsClient

if TYPE_CHECKING:
    from tiny_dancer.gateway import config
    from tiny_dancer.gateway.clients.base import Client


def connect(upstream: config.Upstream) -> Client:
    """The client for an upstream's address; it opens nothing yet."""
    return TlsClient(upstream) if upstream.base_url.lower().startswith("https:") else Http1Client(upstream)
