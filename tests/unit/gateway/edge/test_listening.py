"""Addresses as operators write them, and the sockets opened on them."""

from __future__ import annotations

import select
import socket
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_dancer.errors import ConfigError
from tiny_dancer.gateway.configuration.address import Address, parse_address
from tiny_dancer.gateway.edge.listening import bind, stop_handshakes

HOSTS = st.one_of(
    st.ip_addresses().map(str), st.from_regex(r"[a-z][a-z0-9-]{0,20}(\.[a-z]{1,5})?", fullmatch=True)
)


@given(host=HOSTS, port=st.integers(0, 65535))
def test_an_address_is_read_as_it_is_written(host: str, port: int) -> None:
    address = Address(host, port)
    assert parse_address(str(address), "listen") == address


NO_ADDRESSES = """8000, :8000, host, host:, host:x, host:-1, host:65536, ::1:80, [::1], [::1]80, []:80, [host]:80,
host:８０, a:b:80"""


@pytest.mark.parametrize("text", ["", *NO_ADDRESSES.replace("\n", " ").split(", ")])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_address(text, "health")
    assert caught.value.field == "health"


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("127.0.0.1.example.org", False),
        ("localhost.example.org", False),
    ],
)
def test_only_loopback_is_loopback(host: str, loopback: bool) -> None:
    assert Address(host, 1).loopback is loopback


def test_several_sockets_share_a_port_that_listens_to_nobody_yet() -> None:
    bound = bind(Address("127.0.0.1", 0), "listen", count=3)
    port = bound.address.port
    assert {each.getsockname() for each in bound.sockets} == {("127.0.0.1", port)}
    assert not bound.shared
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    bound.sockets[0].listen()
    second = bind(bound.address, "listen", beside=True)
    assert second.shared
    second.close()
    bound.close()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only a socket that listens is seen")
@pytest.mark.parametrize("listens", [False, True], ids=["starting", "serving"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0"])
def test_a_port_of_another_gateway_is_refused_by_name(host: str, listens: bool) -> None:
    first = bind(Address(host, 0), "listen", count=2)
    if listens:
        first.sockets[0].listen()
    for field in ("listen", "health"):
        with pytest.raises(ConfigError) as caught:
            bind(first.address, field, count=2)
        assert str(caught.value) == (
            f"{field}: {first.address}; another gateway or program has this port; stop it or give another port"
        )
    if not listens:
        # Told to end, it has nothing against a successor.
        first.give_up()
        bind(first.address, "listen").close()
    first.close()
    again = bind(first.address, "listen")
    again.close()


def test_what_listens_everywhere_has_the_port_of_every_address() -> None:
    first = bind(Address("0.0.0.0", 0), "listen")
    first.sockets[0].listen()
    with pytest.raises(ConfigError, match=f":{first.address.port}; another gateway"):
        bind(Address("127.0.0.1", first.address.port), "listen")
    first.close()


def test_a_port_of_another_program_is_refused() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(ConfigError, match="another gateway or program"),
    ):
        bind(Address("127.0.0.1", other.getsockname()[1]), "listen")
    with pytest.raises(ConfigError, match="no such address"):
        bind(Address("no-such-host.invalid", 0), "listen")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has packet filters on sockets")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_who_connects_while_a_socket_closes_gets_the_next_one(host: str) -> None:
    """Without the filter the first socket would take the connection, and reset it when it is closed."""
    try:
        bound = bind(Address(host, 0), "listen")
    except ConfigError:
        pytest.skip(f"no {host} here")
    (first,) = bound.sockets
    first.listen()
    early = socket.create_connection((host, bound.address.port))
    stop_handshakes(first)
    with socket.socket(first.family, socket.SOCK_STREAM) as late:
        late.setblocking(False)
        late.connect_ex((host, bound.address.port))
        accepted, _ = first.accept()
        with early, accepted:  # what was connected before still works
            early.sendall(b"early")
            accepted.settimeout(30)
            assert accepted.recv(5) == b"early"
        with pytest.raises(BlockingIOError):
            first.accept()
        successor = bind(bound.address, "listen", beside=True)
        (second,) = successor.sockets
        second.listen()
        first.close()
        _, writable, _ = select.select([], [late], [], 30)
        assert writable
        assert late.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        late.sendall(b"late")
        second.settimeout(30)
        with second, second.accept()[0] as answered:
            answered.settimeout(30)
            assert answered.recv(4) == b"late"
        successor.close()
    bound.close()
