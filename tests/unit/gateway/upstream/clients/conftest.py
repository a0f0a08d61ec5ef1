"""A certificate authority of this run's own, and what the clients under test run in."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from typing import TYPE_CHECKING, Any

import pytest
import uvloop
from tests.unit.gateway.upstream.clients.raw_server import Caller, RawServer, calling, serving

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from pathlib import Path

    from tests.unit.gateway.upstream.clients.raw_server import Script


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``ca.pem``, and ``server.pem`` and ``server.key`` for localhost, 127.0.0.1, models.test."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = tmp_path_factory.mktemp("certificates")
    now = datetime.datetime.now(datetime.UTC)
    authority_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])

    def sign(name: Any, key: Any, *extensions: tuple[Any, bool]) -> Any:
        builder = x509.CertificateBuilder(
            issuer_name=authority,
            subject_name=name,
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - datetime.timedelta(days=1),
            not_valid_after=now + datetime.timedelta(days=1),
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    names = [
        x509.DNSName("localhost"),
        x509.DNSName("models.test"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    server = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    basic = x509.BasicConstraints
    (folder / "ca.pem").write_bytes(sign(authority, authority_key, (basic(ca=True, path_length=None), True)))
    (folder / "server.pem").write_bytes(
        sign(
            server,
            server_key,
            (basic(ca=False, path_length=None), True),
            (x509.SubjectAlternativeName(names), False),
        )
    )
    (folder / "server.key").write_bytes(
        server_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder


@pytest.fixture
def trusted(certificates: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same; clients made during the test trust it."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
    return certificates


class Client:
    """Which client, in which loop."""

    def __init__(self, scheme: str, run: Callable[[Coroutine[Any, Any, Any]], Any], tls: Any = None) -> None:
        self.scheme = scheme
        self.run = run
        self.tls = tls

    def try_with(
        self, script: Script, use: Callable[[RawServer, Caller], Awaitable[None]], **times: float
    ) -> RawServer:
        """Serves by the script, and calls it."""

        async def main() -> RawServer:
            async with (
                serving(script, tls=self.tls) as server,
                calling(server, scheme=self.scheme, **times) as caller,
            ):
                await use(server, caller)
            return server

        return self.run(main())


@pytest.fixture(params=["asyncio", "uvloop", "asyncio-tls", "uvloop-tls"])
def client(request: pytest.FixtureRequest) -> Client:
    """Our own client, plain and over TLS, in both loops."""
    run = uvloop.run if request.param.startswith("uvloop") else asyncio.run
    if not request.param.endswith("tls"):
        return Client("http", run)
    folder = request.getfixturevalue("trusted")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return Client("https", run, context)


@pytest.fixture(params=["asyncio", "uvloop"])
def http1(request: pytest.FixtureRequest) -> Client:
    """The same without TLS."""
    return Client("http", asyncio.run if request.param == "asyncio" else uvloop.run)
