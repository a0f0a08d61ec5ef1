"""Hot reload: what serves is replaced in one assignment, by call or when a file changes."""

from __future__ import annotations

import hashlib
import logging
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from tiny_dancer import _core, files
from tiny_dancer.errors import ArtifactError, OptionError, TinyDancerError
from tiny_dancer.registry.index import load_checked

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Hashable

    from tiny_dancer.registry.registry import Registry

T = TypeVar("T")

log = logging.getLogger("tiny_dancer.registry")

_SETTLED_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Sourced:
    """Bytes that are to serve, and their version."""

    version: str
    sha256: str
    data: bytes


class Source(Protocol):
    """Where the bytes come from; ``str()`` of it says where that is."""

    def stamp(self) -> Hashable | None:
        """Differs from the last stamp if what is there may have changed; None where it cannot be told.

        Raises:
            TinyDancerError: there is nothing.
        """

    def read(self) -> Sourced:
        """What is there now.

        Raises:
            TinyDancerError: there is nothing, or it is damaged.
        """


class ArtifactFile:
    """A single file; its version is the one its header names."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """A path, read when asked."""
        try:
            self.path = Path(path)
        except TypeError as error:
            raise ArtifactError("artifact", repr(path), "give the path of an artifact") from error

    def __str__(self) -> str:
        return str(self.path)

    def stamp(self) -> Hashable | None:
        """Identity, size and times of the file; None just after a change, when they may miss the next one."""
        try:
            files.check(self.path)
            found = self.path.stat()
        except OSError as error:
            raise self._missing(error) from error
        if abs(time.time() - found.st_mtime) < _SETTLED_SECONDS:
            return None
        return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    def read(self) -> Sourced:
        """The file as it is."""
        try:
            data = files.read(self.path, most=_core.LARGEST_ARTIFACT)
        except OSError as error:
            raise self._missing(error) from error
        version = str(_core.read_header(data).get("version", ""))
        return Sourced(version, hashlib.sha256(data).hexdigest(), data)

    def _missing(self, error: OSError) -> ArtifactError:
        return ArtifactError("artifact", f"{self.path}: {error.strerror}", "give the path of an artifact")


class ServingVersion:
    """The version of a name that serves in a registry."""

    def __init__(self, registry: Registry, name: str) -> None:
        """A name of a registry, read when asked."""
        self._registry, self._name = registry, name

    def __str__(self) -> str:
        return f"{self._name} of {self._registry.folder}"

    def stamp(self) -> Hashable | None:
        """Version and checksum of what serves."""
        serving = self._registry.serving(self._name)
        return (serving.version, serving.sha256)

    def read(self) -> Sourced:
        """What serves, agreeing with its checksum."""
        stored = self._registry.read(self._name)
        return Sourced(stored.version.version, stored.version.sha256, stored.data)


@dataclass(frozen=True, slots=True)
class Loaded(Generic[T]):
    """What serves: a value with the version, checksum and kind of the bytes it was made from."""

    version: str
    sha256: str
    kind: str
    value: T


class Reloading(Generic[T]):
    """Holds what serves and replaces it by what its source has now. Share it between threads.

    A caller takes :attr:`current` once and uses what it took: a request that is under way finishes on its version.
    Bytes that cannot be loaded, or are of another kind than what serves, change nothing: :attr:`last_error` says
    why, and the log ``tiny_dancer.registry`` says it once.

    Attributes:
        current: what serves.
        last_error: why the last reload failed; None where it did not.
    """

    def __init__(self, source: Source, load: Callable[[bytes], T]) -> None:
        """Loads what the source has.

        Args:
            source: an :class:`ArtifactFile` or a :class:`ServingVersion`.
            load: makes the value from the bytes, and raises where they are not fit to serve.

        Raises:
            TinyDancerError: the first load fails: there is nothing older to go on with.
        """
        self._source, self._load = source, load
        self._lock = Lock()
        self._seen = source.stamp()
        found = source.read()
        self.current: Loaded[T] = _loaded(found, _kind(found), load)
        self.last_error: TinyDancerError | None = None
        self._stop: Event | None = None

    def reload(self) -> Loaded[T]:
        """Replaces what serves where the source has something else, and gives what serves then.

        Raises:
            TinyDancerError: the source has nothing, or nothing that loads. What served goes on serving.
        """
        with self._lock:  # two at once could put an older version in place of a newer one
            try:
                stamp = self._source.stamp()
                found = self._source.read()
                if found.sha256 != self.current.sha256 or found.version != self.current.version:
                    self.current = _loaded(found, self._same_kind(found), self._load)
            except TinyDancerError as error:
                self._failed(error)
                raise
            self._seen = stamp
            self.last_error = None
            return self.current

    def check(self) -> None:
        """Reloads if the source says that something may have changed; failures go to :attr:`last_error` only."""
        try:
            stamp = self._source.stamp()
            if stamp is None or stamp != self._seen or self.last_error is not None:
                self.reload()
        except TinyDancerError as error:
            self._failed(error)

    def watch(self, interval: float = 1.0) -> None:
        """Calls :meth:`check` every ``interval`` seconds in a daemon thread, until :meth:`close`.

        A forked process has no such thread: call this after forking.

        Raises:
            OptionError: ``interval`` is not above 0.
        """
        if not interval > 0:
            raise OptionError("interval", interval, "give seconds above 0")
        self.close()
        self._stop = Event()
        # The thread holds no reference: what nobody uses any more goes, and the thread ends.
        Thread(
            target=_watch,
            args=(weakref.ref(self), self._stop, interval),
            name="tiny-dancer-reload",
            daemon=True,
        ).start()

    def close(self) -> None:
        """Stops watching."""
        if self._stop is not None:
            self._stop.set()
            self._stop = None

    def _same_kind(self, found: Sourced) -> str:
        kind, current = _kind(found), self.current
        if kind != current.kind:
            came = f"{self._source} is now a {kind} (version {found.version})"
            serves = f"a {current.kind} (version {current.version}) serves"
            raise ArtifactError("kind", f"{came}, and {serves}", f"put a {current.kind} there")
        return kind

    def _failed(self, error: TinyDancerError) -> None:
        if str(error) != str(self.last_error):
            log.error("%s not reloaded: %s. Version %s goes on serving", self._source, error, self.current.version)
        self.last_error = error


def _kind(found: Sourced) -> str:
    """Empty where nothing was read, as of what needs no training."""
    return str(_core.read_header(found.data).get("kind", "")) if found.data else ""


def _loaded(found: Sourced, kind: str, load: Callable[[bytes], T]) -> Loaded[T]:
    return Loaded(found.version, found.sha256, kind, load_checked(load, found.data))


def _watch(reference: weakref.ref[Reloading[T]], stop: Event, interval: float) -> None:
    while not stop.wait(interval):
        reloading = reference()
        if reloading is None:
            return
        reloading.check()
        del reloading
