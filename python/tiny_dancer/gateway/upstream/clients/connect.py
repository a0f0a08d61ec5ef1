"""Which client an upstream gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiny_dancer.extras import needed
from tiny_dancer.gateway.upstream.clients.http1 import Http1Client

if TYPE_CHECKING:
    from tiny_dancer.gateway.configuration import settings as config
    from tiny_dancer.gateway.upstream.clients.base import Client


def connect(upstream: config.Upstream) -> Client:
    """The client for an upstream's address; it opens nothing yet.

    Raises:
        MissingExtraError: HTTP/2 is asked for, and what speaks it is not installed.
    """
    if not (upstream.http2 and upstream.base_url.lower().startswith("https:")):
        return Http1Client(upstream)
    with needed():
        from tiny_dancer.gateway.upstream.clients.http2 import Http2Client
    return Http2Client(upstream)
