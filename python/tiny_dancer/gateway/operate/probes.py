"""Tries upstreams: asks each for its list of models, and says in one line what is wrong where that fails."""

from __future__ import annotations

import http.client
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

import msgspec
from msgspec import Struct

from tiny_dancer.gateway.upstream.clients.proxies import proxy_for
from tiny_dancer.gateway.upstream.kinds import KINDS

if TYPE_CHECKING:
    from tiny_dancer.gateway.configuration.settings import GatewayConfig, Upstream

_LONGEST = 10.0  # seconds; a list of models is short
_LARGEST = 16 * 1024 * 1024


class Probe(Struct, frozen=True, kw_only=True):
    """What came of trying one upstream.

    Attributes:
        upstream: its name.
        url: what was asked for.
        works: whether requests can be expected to reach a model there.
        message: what was found.
        remedy: what to do about it; empty where nothing is to be done.
    """

    upstream: str
    url: str
    works: bool
    message: str
    remedy: str = ""


class _Listed(Struct):
    id: str


class _List(Struct):
    data: list[_Listed]


def probe(config: GatewayConfig) -> list[Probe]:
    """Tries every upstream, all at the same time, in the configuration's order. No key is ever in what is said."""
    called: dict[str, set[str]] = {name: set() for name in config.upstreams}
    for name, model in config.models.items():
        for deployment in model.deployments:
            called[deployment.upstream].add(deployment.model or name)
    with ThreadPoolExecutor(min(len(called), 16)) as threads:
        return list(threads.map(lambda name: _probe(name, config.upstreams[name], called[name]), called))


def _probe(name: str, upstream: Upstream, called: set[str]) -> Probe:
    url = _url(upstream)
    where = urlsplit(url)
    path = url[url.index(where.netloc) + len(where.netloc) :]
    own = {name.lower(): value for name, value in KINDS[upstream.kind].headers(upstream)}
    headers = {"user-agent": "tiny-dancer", **own}
    kind = http.client.HTTPSConnection if where.scheme == "https" else http.client.HTTPConnection
    proxy = proxy_for(url)
    by_proxy = {} if proxy is None or proxy.authorization is None else {"proxy-authorization": proxy.authorization}
    host, port = (where.hostname or "", where.port) if proxy is None else (proxy.host, proxy.port)
    connection = kind(host, port, timeout=min(upstream.timeouts.connect, _LONGEST))
    if proxy is not None and where.scheme == "https":
        connection.set_tunnel(where.hostname or "", where.port, by_proxy)
    elif proxy is not None:
        path = url
        headers.update(by_proxy)
    try:
        connection.connect()
        connection.sock.settimeout(min(upstream.timeouts.first_byte, _LONGEST))
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        body = response.read(_LARGEST)
        works, message, remedy = _judge(name, upstream, called, response, body)
    except (OSError, http.client.HTTPException) as error:
        works, message, remedy = False, *_failed(name, url, error, connected=connection.sock is not None)
    finally:
        connection.close()
    return Probe(upstream=name, url=url, works=works, message=message, remedy=remedy)


def _url(upstream: Upstream) -> str:
    if upstream.kind == "azure" and upstream.api_version is not None:
        # The deployments' addresses have no list; the resource has.
        query = urlencode({"api-version": upstream.api_version})
        return f"{upstream.base_url.rstrip('/')}/openai/models?{query}"
    return KINDS[upstream.kind].url(upstream, "", "/models")


def _judge(
    name: str, upstream: Upstream, called: set[str], response: http.client.HTTPResponse, body: bytes
) -> tuple[bool, str, str]:
    """Whether it works, what was found, what to do."""
    status, at = response.status, f"upstreams.{name}"
    if status in (401, 403):
        if upstream.api_key is None:
            return False, f"wants a key ({status})", f"give {at}.api_key"
        return False, f"refuses the key ({status})", f"check {at}.api_key"
    if status in (404, 405, 410):
        usual = "; it usually ends in /v1" if not upstream.base_url.rstrip("/").endswith("/v1") else ""
        return False, f"has no list of models ({status})", f"check {at}.base_url{usual}"
    if 300 <= status < 400:
        target = urlsplit(response.headers.get("location") or "")
        where = f" to {target.scheme}://{target.hostname}" if target.hostname else ""
        return False, f"redirects{where} ({status})", f"give the final address as {at}.base_url"
    if status == 429:
        return True, "answers, but has had enough requests for now (429)", ""
    if status != 200:
        return False, f"answers {status}", "look at that server's log" if status >= 500 else f"check {at}"
    try:
        listed = {each.id for each in msgspec.json.decode(body, type=_List).data}
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False, "answers, but with no list of models", f"check {at}.base_url: this is no {upstream.kind} API"
    # Azure lists models, not what they were deployed as.
    missing = sorted(called - listed) if upstream.kind != "azure" else []
    if missing:
        return (
            True,
            f"answers, lists {len(listed)} models, but not {', '.join(missing)}",
            "check the models' names",
        )
    return True, f"answers, lists {len(listed)} models", ""


def _failed(
    name: str, url: str, error: OSError | http.client.HTTPException, *, connected: bool
) -> tuple[str, str]:
    """What failed, and what to do."""
    where, at = urlsplit(url), f"upstreams.{name}"
    server = f"{where.hostname}:{where.port or (443 if where.scheme == 'https' else 80)}"
    if isinstance(error, TimeoutError):
        if connected:
            return f"{server} does not answer in time", "is the server up? is something else listening there?"
        return f"no connection to {server} in time", "is the server up, and reachable from here?"
    if isinstance(error, ConnectionRefusedError):
        return f"{server} refuses connections", f"start the server, or check {at}.base_url"
    if isinstance(error, socket.gaierror):
        return f"the name {where.hostname} is not known", f"check {at}.base_url"
    if isinstance(error, ssl.SSLError) or (where.scheme == "https" and not connected):
        return f"no TLS connection to {server}: {error}", f"check {at}.base_url and the server's certificate"
    if not connected:
        return f"no connection to {server}: {error}", f"check {at}.base_url"
    return f"{server} does not speak HTTP there: {error!r}", f"check {at}.base_url"
