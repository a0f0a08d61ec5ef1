"""What is written about the versions of one artifact, and how it is written: whole or not at all."""

from __future__ import annotations

import json
import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import numpy as np

from tiny_dancer import files
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
_LARGEST = 64 << 20  # bytes of an index
_LARGEST_NOTES = 64 << 10
_DEEPEST = 32  # lists and objects within each other
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
_REMEDY = "restore the file from a copy, or add the artifacts to a new registry"
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
    metrics: Any
    notes: Any

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
        damage: of the file: what each entry that cannot be read is, and why; the others are as they were.
    """

    versions: tuple[Version, ...] = ()
    previous: tuple[str, ...] = ()
    history: tuple[Change, ...] = ()
    damage: tuple[str, ...] = ()

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
    major, minor, patch = found.groups()  # of nine digits at most: what is written can be read by every reader
    return int(major), int(minor), int(patch)


def recorded(history: tuple[Change, ...], change: Change) -> tuple[Change, ...]:
    """The history with one more change."""
    return (*history, change)[-_LONGEST_HISTORY:]


class _File(msgspec.Struct):
    """The index as it lies on the disk, each entry as its bytes: a damaged one leaves the others readable."""

    format: int = FORMAT
    versions: tuple[msgspec.Raw, ...] = ()
    previous: tuple[msgspec.Raw, ...] = ()
    history: tuple[msgspec.Raw, ...] = ()


def read_index(folder: Path) -> Index:
    """The index in ``folder``, with what of it can be read; an empty one where there is no file.

    Raises:
        RegistryError: the file cannot be read, or is no index of this format, or none of its versions can be read.
    """
    path = folder / INDEX
    try:
        index = _decoded(files.read(path, most=_LARGEST), path)
    except FileNotFoundError:
        return Index()
    except OSError as error:
        raise RegistryError("index", f"{path}: {error.strerror}", "check the path and its permissions") from error
    if index.damage and not index.versions:
        raise damaged(folder, index)
    return index


def read_whole(folder: Path) -> Index:
    """The index in ``folder``, to be changed: what cannot be read could not be written back.

    Raises:
        RegistryError: as :func:`read_index`, or an entry is damaged.
    """
    index = read_index(folder)
    if index.damage:
        raise damaged(folder, index)
    return index


def damaged(folder: Path, index: Index) -> RegistryError:
    """What is raised where an entry is needed that cannot be read."""
    return RegistryError("index", f"{folder / INDEX}: {'; '.join(index.damage)}", _REMEDY)


def write_index(folder: Path, index: Index) -> None:
    """Puts ``index`` in place of the one in ``folder``; the caller holds the lock.

    Raises:
        RegistryError: it cannot be written, or would not be read as it is; the old one stays.
    """
    path = folder / INDEX
    content = {name: getattr(index, name) for name in ("versions", "previous", "history")}
    try:
        data = msgspec.json.format(msgspec.json.encode({**content, "format": FORMAT}), indent=1)
        readable = len(data) <= _LARGEST and _decoded(data, path) == index
    except (*_UNREADABLE, TypeError, OverflowError, RegistryError):
        readable = False
    if not readable:
        raise RegistryError("index", f"{path}: could not be read again", "give shorter notes, of plainer values")
    write_whole(path, data)


def _decoded(data: bytes, path: Path) -> Index:
    try:
        file = msgspec.json.decode(data, type=_File)
    except _UNREADABLE as error:
        raise RegistryError("index", f"{path}: {error}", _REMEDY) from error
    if file.format != FORMAT:
        raise RegistryError("index", f"{path}: format {file.format}", "use a newer tiny-dancer")
    damage: list[str] = []

    def entries(raw: tuple[msgspec.Raw, ...], what: str, type: type[T], check: Callable[[T], str]) -> list[T]:
        found = []
        for number, each in enumerate(raw, 1):
            try:
                entry = msgspec.json.decode(each, type=type)
                problem = check(entry)
            except (*_UNREADABLE, RegistryError) as error:
                problem = str(error)
            if problem:
                damage.append(f"{what} {number}: {problem}")
            else:
                found.append(entry)
        return found

    known: set[tuple[int, int, int]] = set()
    states: list[str] = []

    def of_version(entry: Version) -> str:
        if entry.state not in _STATES:
            return f"a state that is none of {', '.join(_STATES)}"
        if entry.order in known:
            return f"{entry.version} is there twice"
        if entry.state == "serving" and "serving" in states:
            return f"{entry.version} serves beside another one"
        known.add(entry.order)
        states.append(entry.state)
        return ""

    def of_previous(version: str) -> str:
        return "" if parse_version(version) in known else f"{version} is none of the versions"

    return Index(
        tuple(entries(file.versions, "version", Version, of_version)),
        tuple(entries(file.previous, "previous version", str, of_previous)),
        tuple(entries(file.history, "change", Change, lambda _: "")),
        tuple(damage),
    )


def plain_notes(value: object) -> Any:
    """Notes as JSON gives them back, so that what is returned equals what is read later.

    Raises:
        RegistryError: JSON does not hold them (a NaN, half a surrogate pair), or they are deeper than 32 levels or
            larger than 64 KiB.
    """
    try:
        builtins = msgspec.to_builtins(value, enc_hook=_from_numpy, str_keys=True)
        json.dumps(builtins, allow_nan=False)  # msgspec would write null
        data = msgspec.json.encode(builtins)
        found = msgspec.json.decode(data)
        _check_depth(found, _DEEPEST)
    except (*_UNREADABLE, TypeError, OverflowError) as error:
        raise RegistryError("notes", f"{type(value).__name__}: {error}", "give values that JSON holds") from error
    if len(data) > _LARGEST_NOTES:
        raise RegistryError("notes", f"{len(data):,} bytes", f"give at most {_LARGEST_NOTES:,}")
    return found


def _check_depth(value: Any, levels: int) -> None:
    """Whoever reads it may be deep in the stack already."""
    if levels < 0:
        raise ValueError(f"more than {_DEEPEST} levels")
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_depth(each, levels - 1)


def _from_numpy(value: object) -> object:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no value of JSON")


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file so that, whenever the process or the machine stops, it is the old one or the new one.

    Raises:
        RegistryError: it cannot be written; the old one stays.
    """
    part = path.with_name(path.name + PART)
    try:
        # Anew: what lies there may be a pipe, or a link to somebody's file.
        part.unlink(missing_ok=True)
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise RegistryError(
            "registry", f"{error.filename or path}: {error.strerror}", "check space and permissions"
        ) from error


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
        # Both ways and at once: a pipe in its place is not waited for.
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
    except OSError as error:
        raise _no_folder(folder, error) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            raise _no_folder(folder, error) from error
        yield
    finally:
        os.close(lock)


def _no_folder(folder: Path, error: OSError) -> RegistryError:
    return RegistryError(
        "registry", f"{error.filename or folder}: {error.strerror}", "give a folder you may write to"
    )
