"""What follows from a configuration, for those who serve and for the supervisor, which must not load them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tiny_dancer.gateway.listening import parse_address

if TYPE_CHECKING:
    from pathlib import Path

    from tiny_dancer.gateway.config import GatewayConfig

LIMITS_SUFFIX: Final = ".limits"


def keys_required(config: GatewayConfig) -> bool:
    """Whether clients need a key: as configured, or by ``auto`` wherever others than this machine can connect."""
    if config.access.keys != "auto":
        return config.access.keys == "required"
    return not parse_address(config.listen, "listen").loopback


def limits_path(config: GatewayConfig, folder: Path) -> Path:
    """Where several workers keep the rates of keys, for the supervisor to make and the workers to open."""
    found = folder / config.storage
    return found.with_name(found.name + LIMITS_SUFFIX)
