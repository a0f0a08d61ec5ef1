"""PgBouncer in front of the tests' PostgreSQL server, handing out connections by transaction."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.missing import missing

if TYPE_CHECKING:
    from tests.postgres import Server


class Pooler:
    """A pooler of three connections to one database.

    Attributes:
        address: what clients connect to.
    """

    def __init__(self, server: Server, address: str) -> None:
        program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
        if program is None:
            missing("pgbouncer (Debian: pgbouncer)")
        self._program = program
        self._server = server
        name = address.removeprefix("postgresql:///").partition("?")[0]
        with socket.create_server(("127.0.0.1", 0)) as free:
            port: int = free.getsockname()[1]
        self.address = f"postgresql://postgres@127.0.0.1:{port}/{name}"
        self._settings = server.folder / f"pgbouncer-{port}.ini"
        self._settings.write_text(
            f"[databases]\n{name} = host={server.folder} user=postgres\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\n"
            "pool_mode = transaction\ndefault_pool_size = 3\nserver_round_robin = 1\nunix_socket_dir =\n"
        )
        self._port = port

    def __enter__(self) -> Self:
        command = [self._program, str(self._settings)]
        if os.geteuid() == 0:
            command += ["--user", "postgres"]
        log = self._settings.with_suffix(".log").open("wb")
        self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=Path("/"))
        log.close()
        while True:
            assert self._process.poll() is None, self._settings.with_suffix(".log").read_text()
            try:
                socket.create_connection(("127.0.0.1", self._port)).close()
            except ConnectionRefusedError:
                time.sleep(0.02)
            else:
                return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
