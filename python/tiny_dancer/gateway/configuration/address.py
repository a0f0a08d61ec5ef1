"""Where a port is: as the configuration writes it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from tiny_dancer.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen.

    Attributes:
        host: a name or an IP address, IPv6 without brackets.
        port: 0 for any that is free.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_address(text: str, field: str) -> Address:
    """``host:port`` or ``[host]:port``.

    Raises:
        ConfigError: it is neither; names ``field``.
    """
    host, colon, port = text.strip().rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    plain = host[1:-1] if bracketed else host
    if (
        not colon
        or not plain
        or (":" in plain) is not bracketed
        or not (port.isascii() and port.isdigit() and int(port) < 65536)
    ):
        raise ConfigError(field, text, "give host:port, such as 127.0.0.1:8000 or [::1]:8000")
    return Address(plain, int(port))
