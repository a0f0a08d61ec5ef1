"""Connections to the server: pooled, given back in order, their errors translated, lost ones replaced.

No connection has a state that outlives a transaction: no search path, no prepared statements, no session locks. So
a pooler that hands out connections by transaction may stand in between.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import msgspec
import numpy as np
import psycopg
from psycopg import errors
from psycopg.adapt import Dumper, Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Format, TransactionStatus
from psycopg.types.string import TextBinaryLoader, TextLoader
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from tiny_dancer.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

PATIENCE_S = 30.0
"""So long a call waits for a connection, while the server restarts or others have all of them."""
# Seconds in which a server says whether it takes a connection, where the address does not say how many.
_CONNECT_S = 10
# A connection that nobody used for so long is closed.
_IDLE_S = 300.0
# Of one transaction that others were in the way of.
_TRIES = 20
# What reading a row raises that another program has written.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError)
RESTORE = "restore a backup"

_COMMITTED = "BEGIN ISOLATION LEVEL READ COMMITTED"
_SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# Others wrote the same rows at once: what was done is undone, and done again.
_IN_THE_WAY = (errors.SerializationFailure, errors.DeadlockDetected, errors.UniqueViolation)
# What a server says to a connection that it ends, or does not take yet.
_ENDED = (
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.CannotConnectNow,
    errors.IdleInTransactionSessionTimeout,
    errors.IdleSessionTimeout,
)
# A server that was the primary and is a standby now keeps its connections: the next may lead to the new primary.
_DEMOTED = errors.ReadOnlySqlTransaction
# What a server, and the way to it, may raise at any call.
TROUBLE = (psycopg.Error, PoolTimeout, PoolClosed, MemoryError)

_GRANTS = (
    "GRANT USAGE ON SCHEMA tiny_dancer, and SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA tiny_dancer, "
    "to this user; to make the tables, CREATE ON DATABASE"
)
_REMEDIES: tuple[tuple[type[psycopg.Error], str, str], ...] = (
    (
        errors.InvalidPassword,
        "user or password refused",
        "give the right ones, as in postgresql://user:password@host",
    ),
    (errors.InvalidAuthorizationSpecification, "user refused", "give one that exists and may connect"),
    (errors.InvalidCatalogName, "no such database", "make it: createdb --encoding=UTF8 --template=template0 NAME"),
    (errors.TooManyConnections, "no connection left", "let the server have more, or give a smaller pool_size"),
    (errors.InsufficientPrivilege, "permission denied", _GRANTS),
    (errors.ReadOnlySqlTransaction, "read-only", "connect to the primary server, or open it with read_only=True"),
    (errors.QueryCanceled, "cancelled", "raise statement_timeout of this user, or ask for less"),
    (errors.LockNotAvailable, "locked for lock_timeout", "end the transaction that holds the lock"),
    (errors.DiskFull, "no space left", "free space on the server's disk; nothing of this write was kept"),
    (errors.OutOfMemory, "out of memory", "free memory on the server"),
    (errors.ProgramLimitExceeded, "too long", "give names of at most 2,600 bytes, and texts below 256 MB"),
    (errors.UndefinedTable, "tables missing or changed", RESTORE),
    (errors.UndefinedColumn, "tables missing or changed", RESTORE),
    (errors.DuplicateTable, "another program's tables are in schema tiny_dancer", "give another database"),
    (errors.DataCorrupted, "damaged", f"{RESTORE} of the server"),
    (errors.IndexCorrupted, "damaged", f"REINDEX the tables of schema tiny_dancer, or {RESTORE}"),
    (errors.SerializationFailure, "others write the same all the time", "try again"),
    (errors.DeadlockDetected, "others write the same all the time", "try again"),
    (errors.IntegrityError, "refused by a constraint", "give a value that the tables take"),
    (errors.DataError, "a value that no column takes", "give a value that the tables take"),
)


class EmbeddingDumper(Dumper):
    """float32 [dimension] as PostgreSQL's ``real[]``."""

    format = Format.BINARY
    oid = psycopg.adapters.types["float4"].array_oid

    def dump(self, obj: Any) -> bytes:
        """One dimension, without NULL, of type float4, counted from 1; then each number after its length."""
        values = np.empty(len(obj), _ITEM)
        values["length"], values["value"] = 4, obj
        head = np.array([1, 0, psycopg.adapters.types["float4"].oid, len(obj), 1], ">i4")
        return head.tobytes() + values.tobytes()


class EmbeddingLoader(Loader):
    """``real[]`` as float32 [dimension]."""

    format = Format.BINARY

    def load(self, data: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The tables' constraints allow one dimension without NULL only."""
        return np.frombuffer(data, _ITEM, offset=_HEAD)["value"].astype(np.float32)


_ITEM = np.dtype([("length", ">i4"), ("value", ">f4")])
_HEAD = 20


class Database:
    """A pool of connections to one database.

    Attributes:
        where: the address without a password, for messages.
    """

    def __init__(self, conninfo: str, *, pool_size: int) -> None:
        """Connects once, so that what is wrong with the address is said at once.

        Raises:
            StorageError: no server answers, or it refuses.
        """
        try:
            parts: dict[str, Any] = dict(conninfo_to_dict(conninfo))
        except psycopg.ProgrammingError as error:
            remedy = "give one such as postgresql://user:password@host:5432/database"
            raise StorageError("conninfo", str(error).strip(), remedy) from None
        parts.setdefault("connect_timeout", _CONNECT_S)
        parts.setdefault("fallback_application_name", "tiny-dancer")
        parts["client_encoding"] = "utf8"
        self._conninfo = make_conninfo(**parts)
        self._kwargs = {"autocommit": True, "prepare_threshold": None}
        self.where = _address(parts)
        try:
            with self._connect() as connection:
                self.where = _address(
                    {**parts, **connection.info.get_parameters(), "dbname": connection.info.dbname}
                )
        except TROUBLE as error:
            raise self.error(error) from error
        self._size = pool_size
        self._pool = ConnectionPool(
            self._conninfo,
            kwargs=self._kwargs,
            configure=_configure,
            min_size=0,
            max_size=pool_size,
            timeout=PATIENCE_S,
            max_idle=_IDLE_S,
            reconnect_timeout=PATIENCE_S,
            num_workers=1,
            name="tiny-dancer",
            open=True,
        )

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self._conninfo, **self._kwargs)  # type: ignore[arg-type]

    def read(self, action: Callable[[psycopg.Connection[Any]], T]) -> T:
        """What ``action`` returns, which reads by one statement."""
        return self._run(action, None, again=True)

    def snapshot(self, action: Callable[[psycopg.Connection[Any]], T]) -> T:
        """What ``action`` returns, all of whose reads see one state of the database."""
        return self._run(action, _SNAPSHOT, again=True)

    def write(self, action: Callable[[psycopg.Connection[Any]], T], *, again: bool = False) -> T:
        """What ``action`` returns, when all that it wrote is durable. It may be called more than once.

        Args:
            action: writes, and leaves no trace elsewhere.
            again: it may be done a second time without harm, where a connection is lost and nobody knows whether
            it
                was done.

        Raises:
            StorageError: it could not be written; nothing of it was kept, unless it says that nobody knows.
            BaseException: what ``action`` raised, whatever that is; nothing of it was kept.
        """
        return self._run(action, _COMMITTED, again=again)

    def outside(self, action: Callable[[psycopg.Connection[Any]], T]) -> T:
        """What ``action`` returns, which runs outside a transaction, as VACUUM must."""
        return self._run(action, None, again=False)

    def _run(self, action: Callable[[psycopg.Connection[Any]], T], begin: str | None, *, again: bool) -> T:
        deadline = time.monotonic() + PATIENCE_S
        tries = connections = 0
        while True:
            connection = self._take()
            ending = begin is None
            try:
                if begin is None:
                    return action(connection)
                connection.execute(begin)
                result = action(connection)
                ending = True
                if connection.execute("COMMIT").statusmessage == "COMMIT":
                    return result
                raise StorageError(self.where, "rolled back by the server", "try again")
            except _IN_THE_WAY as error:
                tries += 1
                if tries == _TRIES or (begin is None and not again):
                    raise self.error(error) from error
                _roll_back(connection)
                time.sleep(random.random() * 0.001 * 2 ** min(tries, 6))
            except TROUBLE as error:
                demoted = isinstance(error, _DEMOTED)
                if demoted:
                    connections += 1
                if not (connection.closed or isinstance(error, _ENDED) or (demoted and connections <= self._size)):
                    raise self.error(error) from error
                connection.close()
                if ending and not (again or demoted):
                    what = f"the connection was lost while it was written ({_said(error)}): it may be kept, or not"
                    raise StorageError(self.where, what, "look, and write again what is not there") from error
                if time.monotonic() > deadline:
                    raise self.error(error) from error
            finally:
                # Also where the caller was interrupted in the middle of it all.
                _roll_back(connection)
                self._pool.putconn(connection)

    def _take(self) -> psycopg.Connection[Any]:
        try:
            return self._pool.getconn()
        except PoolClosed as error:
            raise StorageError(self.where, "closed", "open it again") from error
        except PoolTimeout as error:
            try:
                self._connect().close()
            except TROUBLE as reason:
                raise self.error(reason) from reason
            what = f"all {self._size} connections in use for {PATIENCE_S:g} s"
            raise StorageError(self.where, what, "give a larger pool_size, or ask less at once") from error

    def error(self, error: BaseException) -> StorageError:
        """What ``error`` means to a user."""
        said = _said(error)
        if isinstance(error, MemoryError):
            return StorageError(self.where, "out of memory", "free memory")
        for kind, meaning, remedy in _REMEDIES:
            if isinstance(error, kind):
                return StorageError(self.where, f"{meaning} ({said})", remedy)
        if isinstance(error, psycopg.OperationalError):
            # Before a connection is made, errors have no class of their own.
            for sign, kind in _SIGNS:
                if sign in said:
                    meaning, remedy = next(
                        (meaning, remedy) for known, meaning, remedy in _REMEDIES if known is kind
                    )
                    return StorageError(self.where, f"{meaning} ({said})", remedy)
            return StorageError(
                self.where, f"cannot be reached ({said})", "start the server, and check the address"
            )
        return StorageError(self.where, said, "check the server's log")

    def close(self) -> None:
        """Closes the connections now, those in use when they are given back."""
        self._pool.close()


# What is said before there is a connection, the first that fits: not every sign of it has a class.
_SIGNS: tuple[tuple[str, type[psycopg.Error]], ...] = (
    ("too many clients", errors.TooManyConnections),
    ("too many connections", errors.TooManyConnections),
    ("remaining connection slots", errors.TooManyConnections),
    ("password authentication failed", errors.InvalidPassword),
    ("no password supplied", errors.InvalidPassword),
    ("permission denied", errors.InvalidAuthorizationSpecification),
    ("no pg_hba.conf entry", errors.InvalidAuthorizationSpecification),
    ("FATAL: role ", errors.InvalidAuthorizationSpecification),
    ("FATAL: database ", errors.InvalidCatalogName),
)


def _configure(connection: psycopg.Connection[Any]) -> None:
    # JSON stays text: what reads it is the same for every database.
    connection.adapters.register_loader("json", TextLoader)
    connection.adapters.register_loader("json", TextBinaryLoader)
    connection.adapters.register_loader(EmbeddingDumper.oid, EmbeddingLoader)
    connection.adapters.register_dumper(np.ndarray, EmbeddingDumper)


def _roll_back(connection: psycopg.Connection[Any]) -> None:
    """Ends a transaction that is open; a connection that cannot is closed."""
    if connection.closed or connection.info.transaction_status == TransactionStatus.IDLE:
        return
    try:
        connection.execute("ROLLBACK")
    except psycopg.Error:
        connection.close()


def _said(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    return text or type(error).__name__


def _address(parts: dict[str, Any]) -> str:
    """Where a database is, without what is secret."""
    host = str(parts.get("host") or parts.get("hostaddr") or "")
    port = f":{parts['port']}" if parts.get("port") and not host.startswith("/") else ""
    user = f"{quote(str(parts['user']))}@" if parts.get("user") else ""
    return f"postgresql://{user}{quote(host, safe='')}{port}/{quote(str(parts.get('dbname') or ''))}"
