"""The proxy the environment names for an upstream: ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY``, ``NO_PROXY``.

Lower case counts too, and before upper case. The names are read by the standard library, as in other Python
programs; added is Go's rule that what is on this machine is never proxied: stand-ins, Ollama and vLLM are asked
directly whatever a company's profile exports.
"""

from __future__ import annotations

import ipaddress
import os
from base64 import b64encode
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

from msgspec import Struct

from tiny_dancer.errors import ConfigError

if TYPE_CHECKING:
    from urllib.parse import SplitResult

_REMEDY: Final = "give http://host:port, or exempt the upstream by NO_PROXY"


class Proxy(Struct, frozen=True):
    """An HTTP proxy.

    Attributes:
        host: its name.
        port: it listens on.
        authorization: value of ``proxy-authorization``; None where the URL has no user.
    """

    host: str
    port: int
    authorization: str | None


def proxy_for(url: str) -> Proxy | None:
    """The proxy through which the environment wants a URL asked; None where it is asked directly.

    Raises:
        ConfigError: it names one that is no HTTP proxy. The message does not repeat it: it may hold a password.
    """
    wanted = urlsplit(url)
    host, scheme = wanted.hostname or "", wanted.scheme.lower()
    proxies = getproxies_environment()
    text, name = next(((proxies[each], each) for each in (scheme, "all") if proxies.get(each)), ("", ""))
    if not text or _is_here(host):
        return None
    # With its port, which NO_PROXY may name.
    port = wanted.port or (443 if scheme == "https" else 80)
    if proxy_bypass_environment(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", proxies):
        return None
    return _parsed(text, name)


def _parsed(text: str, name: str) -> Proxy:
    variable = f"{name}_proxy"
    variable = variable if variable in os.environ else variable.upper()
    try:
        parts: SplitResult = urlsplit(text if "://" in text else f"http://{text}")
        port = parts.port or 80
    except ValueError as error:
        raise ConfigError(variable, "no URL", _REMEDY) from error
    if parts.scheme.lower() != "http" or not parts.hostname:
        raise ConfigError(variable, f"a proxy by {parts.scheme.lower()[:20] or 'nothing'}", _REMEDY)
    authorization = None
    if parts.username is not None:
        secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + b64encode(secret.encode()).decode()
    return Proxy(parts.hostname, port, authorization)


def _is_here(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
