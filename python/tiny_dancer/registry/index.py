"""What is written about the versions of one artifact, and how it is written: whole or not at all."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from tiny_dancer.errors import ArtifactError, RegistryError, TinyDancerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

T = TypeVar("T")

FORMAT = 1
INDEX = "index.json"
LOCK = ".lock"
PART = ".part"
_STATES = ("added", "serving", "retired")
_LONGEST_HISTORY = 1000
_LOADING_FAILURES = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
_VERSION = re.compile(r"v?(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an artifact.

    Attributes:
        version: ``MAJOR.MINOR.PATCH``.
        state: ``added``, ``serving`` or ``retired``.
        sha256: of the file's bytes, hexadecimal.
        size: of the file, bytes.
        kind: what the artifact is for, out of its header (``request-router``, …).
        added: when, ISO 8601 in UTC.
        created: when the artifact was made, out of its header; empty where it does not say.
        source: the path it was added from.
        metrics: on held-out data, out of its header.
        notes: whatever the caller added.
    """

    version: str
    state: str
    sha256: str
    size: int
    kind: str
    added: str
    created: str
    source: str
    metrics: dict[str, Any]
    notes: dict[str, Any]

    @property
    def order(self) -> tuple[int, int, int]:
        """Sorts versions as semantic versioning does."""
        return parse_version(self.version)


@dataclass(frozen=True, slots=True)
class Change:
    """A change of what serves: ``version`` came by ``action`` (``promote`` or ``rollback``) at ``at`` (UTC)."""

    at: str
    action: str
    version: str


@dataclass(frozen=True, slots=True)
class Index:
    """Everything about the versions of one artifact.

    Attributes:
        versions: in the order they were added.
        previous: versions that served before the present one, oldest first, each once; rollback takes the last.
        history: the last 1,000 changes, oldest first.
        format: of this file.
    """

    versions: tuple[Version, ...] = ()
    previous: tuple[str, ...] = ()
    history: tuple[Change, ...] = ()
    format: int = FORMAT

    @property
    def serving(self) -> Version | None:
        """The version that serves, or None."""
        return next((each for each in self.versions if each.state == "serving"), None)

    def find(self, version: str) -> Version:
        """The entry of a version.

        Raises:
            RegistryError: there is none.
        """
        wanted = parse_version(version)
        for each in self.versions:
            if each.order == wanted:
                return each
        known = ", ".join(each.version for each in self.versions) or "none yet"
        raise RegistryError("version", version, f"the versions are: {known}")


def parse_version(text: str) -> tuple[int, int, int]:
    """(major, minor, patch) of ``1.2.3`` or ``v1.2.3``.

    Raises:
        RegistryError: the text is no such triple.
    """
    found = _VERSION.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise RegistryError("version", repr(text), "give MAJOR.MINOR.PATCH, such as 1.2.3")
    major, minor, patch = found.groups()
    return int(major), int(minor), int(patch)


def recorded(history: tuple[Change, ...], change: Change) -> tuple[Change, ...]:
    """The history with one more change."""
    return (*history, change)[-_LONGEST_HISTORY:]


def read_index(folder: Path) -> Index:
    """The index in ``folder``; an empty one where there is no file.

    Raises:
        RegistryError: the file cannot be read, or is no index of this format.
    """
    path = folder / INDEX
    remedy = "restore the file from a copy, or add the artifacts to a new registry"
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Index()
    except OSError as error:
        raise RegistryError("index", f"{path}: {error.strerror}", "check the path and its permissions") from error
    try:
        index = msgspec.json.decode(data, type=Index)
    except msgspec.DecodeError as error:
        raise RegistryError("index", f"{path}: {error}", remedy) from error
    if index.format != FORMAT:
        raise RegistryError("index", f"{path}: format {index.format}", "use a newer tiny-dancer")
    if any(each.state not in _STATES for each in index.versions):
        raise RegistryError("index", f"{path}: a state that is none of {', '.join(_STATES)}", remedy)
    return index


def write_index(folder: Path, index: Index) -> None:
    """Puts ``index`` in place of the one in ``folder``; the caller holds the lock."""
    write_whole(folder / INDEX, msgspec.json.format(msgspec.json.encode(index), indent=1))


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file so that, whenever the process or the machine stops, it is the old one or the new one.

    Raises:
        RegistryError: it cannot be written; the old one stays.
    """
    part = path.with_name(path.name + PART)
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise RegistryError("registry", f"{path}: {error.strerror}", "check space and permissions") from error


def load_checked(load: Callable[[bytes], T], data: bytes) -> T:
    """``load(data)``, whose every failure is a typed error: what serves must not depend on how a loader fails.

    Raises:
        TinyDancerError: what ``load`` raised, or an ArtifactError that says it.
    """
    try:
        return load(data)
    except TinyDancerError:
        raise
    except _LOADING_FAILURES as error:
        remedy = "give an artifact of the kind that is loaded here"
        raise ArtifactError("artifact", f"{type(error).__name__}: {error}", remedy) from error


def sync_folder(folder: Path) -> None:
    """Makes renames and removals in ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes the folder if need be, and keeps other threads and processes from changing it.

    The lock is the kernel's (``flock``): it is gone when its holder is, however it ended.

    Raises:
        RegistryError: the folder cannot be made or written.
    """
    import fcntl  # here, so that machines without it can still read

    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("ab")
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        raise RegistryError("registry", f"{folder}: {error.strerror}", "give a folder you may write to") from error
    with file:
        yield
