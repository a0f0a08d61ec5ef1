"""A PostgreSQL server of the tests' own: made where its programs are, run by an ordinary user, gone afterwards.

One a process (``server()``), so one for each worker of pytest-xdist. It listens on a Unix socket in its own folder
and on no port, keeps nothing (``fsync = off``), and its databases compare texts by ICU's rules for English, as
nobody's program does: what is not ordered by bytes comes out in another order.
"""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.missing import missing

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg

_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "autovacuum": "off",
    "jit": "off",
    "listen_addresses": "",
    "logging_collector": "off",
    "max_wal_size": "1GB",
}


def programs() -> Path | None:
    """The folder of ``postgres`` and ``initdb``, of the newest version there is; None without."""
    found = shutil.which("pg_config")
    folders = [Path(os.path.realpath(found)).parent] if found else []
    installed = Path("/usr/lib/postgresql").glob("*/bin")
    folders += sorted(installed, key=lambda folder: float(folder.parent.name), reverse=True)
    return next((each for each in folders if (each / "postgres").exists() and (each / "initdb").exists()), None)


class Server:
    """A running server.

    Attributes:
        folder: of its data and its socket.
        bin: of its programs.
        version: major version.
    """

    def __init__(self, bin: Path, settings: dict[str, str] | None = None) -> None:
        self.bin = bin
        # Short: the path of a socket has at most 107 bytes. Not pytest's, which only its own user may enter.
        self.folder = Path(tempfile.mkdtemp(prefix="tdpg"))
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:  # which PostgreSQL refuses to run as
            try:
                user = pwd.getpwnam("postgres")
            except KeyError:
                missing("a user postgres, as PostgreSQL does not run as root")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self._as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self._process: subprocess.Popen[bytes] | None = None
        self._log = self.folder / "log"
        self._databases = 0
        command = ["initdb", "--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C"]
        self.program(*command, f"--pgdata={self.folder / 'data'}")
        lines = [f"{name} = '{value}'" for name, value in {**_SETTINGS, **(settings or {})}.items()]
        lines.append(f"unix_socket_directories = '{self.folder}'")
        with (self.folder / "data" / "postgresql.conf").open("a") as file:
            file.write("\n".join(lines))
        self.version = int((self.folder / "data" / "PG_VERSION").read_text().split(".")[0])
        self.start()

    def program(self, name: str, *arguments: str) -> str:
        """What one of PostgreSQL's programs prints, run as the server's user."""
        command = [str(self.bin / name), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder, **self._as)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self) -> None:
        """Starts it, and returns when it answers."""
        with self._log.open("ab") as log:
            command = [str(self.bin / "postgres"), "-D", str(self.folder / "data")]
            # Where the system can, it ends at once when this process is gone, also when that was killed.
            bound = [setpriv, "--pdeathsig", "QUIT"] if (setpriv := shutil.which("setpriv")) else []
            self._process = subprocess.Popen(
                [*bound, *command], stdout=log, stderr=log, cwd=self.folder, **self._as
            )
        ask = [str(self.bin / "pg_isready"), "--quiet", "--host", str(self.folder), "--dbname=postgres"]
        while subprocess.run(ask, stdin=subprocess.DEVNULL, check=False).returncode:
            assert self._process.poll() is None, self._log.read_text()
            time.sleep(0.02)  # pg_isready has no way to wait

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Ends it: SIGINT in order, SIGQUIT at once, as a crash does."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None

    def restart(self, how: signal.Signals = signal.SIGINT) -> None:
        """Ends it and starts it again."""
        self.stop(how)
        self.start()

    def remove(self) -> None:
        """Ends it and removes its data."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str, *, user: str = "postgres") -> str:
        """Where a database is."""
        return f"postgresql:///{database}?host={self.folder}&user={user}"

    def database(self, name: str | None = None, *, template: str | None = None, options: str = "") -> str:
        """Makes a database, and says where it is.

        Args:
            name: of it; a new one by default.
            template: a database nobody is connected to, that it becomes a copy of.
            options: of CREATE DATABASE, in place of ICU's rules for English.
        """
        self._databases += 1
        name = name or f"test_{self._databases}"
        if template is not None:
            options = f'TEMPLATE "{template}"'
        elif not options and self.version >= 15:
            options = "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en'"
        self.sql(f'CREATE DATABASE "{name}" {options}')
        return self.url(name)

    def sql(
        self, statement: str, values: Sequence[Any] = (), *, database: str = "postgres"
    ) -> list[tuple[Any, ...]]:
        """Rows of a statement, as the superuser."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement, values or None)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []


@cache
def server() -> Server:
    """The server of this process; skips the test where PostgreSQL is not installed."""
    if find_spec("psycopg") is None or find_spec("psycopg_pool") is None:
        missing("psycopg (pip: psycopg[binary] psycopg-pool)")
    bin = programs()
    if bin is None:
        missing("PostgreSQL's postgres and initdb (Debian: postgresql)")
    made = Server(bin)
    atexit.register(made.remove)
    return made


@cache
def _kept() -> str:
    url = server().database("kept")

    from tiny_dancer.postgres import PostgresStorage

    PostgresStorage(url).close()
    return url


@cache
def _emptying() -> psycopg.Connection[Any]:
    import psycopg

    connection = psycopg.connect(_kept(), autocommit=True)
    atexit.register(connection.close)
    return connection


def emptied() -> str:
    """Where a database with the present tables is and nothing in them; always the same one, as making one takes
    ten times as long."""
    url = _kept()

    import psycopg

    from tiny_dancer.storage.postgres.verify import TABLES

    deletions = "".join(f"DELETE FROM tiny_dancer.{table};" for table in (*TABLES, "candidate_deletion"))
    state = "epoch = gen_random_uuid()::text, changes = 0, forgotten = 0, dimension = NULL"
    counters = f"UPDATE tiny_dancer.state SET {state}; UPDATE tiny_dancer.table_change SET changes = 0"
    try:
        _emptying().execute(deletions + counters)
    except psycopg.OperationalError:  # a test has restarted the server
        _emptying.cache_clear()
        _emptying().execute(deletions + counters)
    return url
