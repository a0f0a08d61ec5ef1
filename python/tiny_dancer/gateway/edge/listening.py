"""The sockets that listen."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import socket
import struct
import sys
from dataclasses import dataclass

from tiny_dancer.errors import ConfigError
from tiny_dancer.gateway.configuration.address import Address

BACKLOG = 4096
"""Connections that may wait to be accepted; the kernel caps it (net.core.somaxconn)."""

_KEEP_ALIVE_SECONDS = 60
_SO_ATTACH_FILTER = 26
# Classic BPF, which sees a packet from its TCP header on: drop what has the flag SYN, keep everything else.
_NO_SYN = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 13),  # load the flags
        (0x45, 0, 1, 0x02),  # is SYN set?
        (0x06, 0, 0, 0),  # drop
        (0x06, 0, 0, 0xFFFFFFFF),  # keep
    )
)


@dataclass(frozen=True, slots=True)
class Bound:
    """Sockets that have a port.

    They do not listen yet: the kernel sends no connection to a process that may fail to start.

    Attributes:
        address: with the port that was free, where any was asked for.
        sockets: one per process.
        shared: whether another process listens there as well.
        claim: tells other gateways that this one has the port, until it is closed; None where one has it already.
    """

    address: Address
    sockets: list[socket.socket]
    shared: bool
    claim: socket.socket | None = None

    def close(self) -> None:
        """Closes this process's copies; connections that wait stay with whoever has others."""
        for each in self.sockets:
            each.close()
        self.give_up()

    def give_up(self) -> None:
        """Lets another gateway have the port: this one is about to end."""
        if self.claim is not None:
            self.claim.close()


def bind(address: Address, field: str, *, count: int = 1, beside: bool = False) -> Bound:
    """``count`` sockets between which the kernel spreads new connections (SO_REUSEPORT).

    Where the kernel does not spread connections (Linux does), there is one socket, which all processes share.

    Args:
        address: where.
        field: of the configuration, for errors.
        count: processes that will serve there.
        beside: open the port also where another gateway of the same user listens, to take over from it.

    Raises:
        ConfigError: the port is taken, or the address is not this machine's; names ``field``.
    """
    balanced = sys.platform == "linux"
    try:
        family = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0][0]
        shared = _taken(family, address)
        if shared and not beside:
            raise OSError(errno.EADDRINUSE, "taken")
        with contextlib.ExitStack() as undo:
            first = undo.enter_context(_open(family, address))
            # Sockets that do not listen yet are seen by nobody: two that start at once tell each other by this.
            claim = _claimed(first)
            if claim is None and not beside:
                raise OSError(errno.EADDRINUSE, "taken")
            undo.pop_all()
    except OSError as error:
        raise ConfigError(field, address, _remedy(error)) from error
    address = Address(address.host, first.getsockname()[1])
    sockets = [first]
    for _ in range(count - 1):
        sockets.append(_open(family, address) if balanced else first.dup())
    return Bound(address, sockets, shared or claim is None, claim)


def stop_handshakes(listening: socket.socket) -> None:
    """Has the kernel begin no connection here any more; those begun are finished.

    Whoever closes a listening socket while a connection is between its first and its last packet loses it. A first
    packet that is dropped instead is sent again after a second, and then answered by another socket of the port.
    Where this cannot be done (it is Linux's), nothing is.
    """
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(_NO_SYN, len(_NO_SYN))
    pointer = struct.pack("HP", len(_NO_SYN) // 8, ctypes.addressof(program))
    with contextlib.suppress(OSError):
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, pointer)


def _open(family: socket.AddressFamily, address: Address) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # Accepted connections inherit it: a client that vanished during a long stream is found out.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEP_ALIVE_SECONDS)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if address.host == "::" else 1)
        opened.bind((address.host, address.port))
        opened.setblocking(False)
    except OSError:
        opened.close()
        raise
    return opened


def _taken(family: socket.AddressFamily, address: Address) -> bool:
    """Whether somebody listens there already: only without SO_REUSEPORT does the kernel say so."""
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            raise
    return False


def _claimed(bound: socket.socket) -> socket.socket | None:
    """A name of the kernel's that one process can have at a time, for the address this socket is bound to.

    It ends with the process. None where another has it; a socket without a name where there are no such names:
    they are Linux's.
    """
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    if sys.platform != "linux":
        return claim
    try:
        host, port = bound.getsockname()[:2]
        claim.bind(f"\0tiny-dancer gateway {host} {port}")
    except OSError as error:
        claim.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise
    return claim


def _remedy(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another gateway or program has this port; stop it or give another port"
    if error.errno == errno.EACCES:
        return "ports below 1024 need the right to them (CAP_NET_BIND_SERVICE); give another port"
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address; give one it has, or 0.0.0.0 for all"
    return f"{error.strerror}; give another address"
