"""Versions of artifacts in a folder: ``<folder>/<name>/v1.2.3.safetensors`` beside an index."""

from __future__ import annotations

import hashlib
import operator
import os
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tiny_dancer import _core, files
from tiny_dancer.errors import RegistryError, TinyDancerError
from tiny_dancer.registry.index import (
    INDEX,
    LOCK,
    PART,
    Change,
    Index,
    Version,
    damaged,
    load_checked,
    locked,
    parse_version,
    plain_notes,
    read_index,
    read_whole,
    recorded,
    sync_folder,
    write_index,
    write_whole,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_BUMPS = ("major", "minor", "patch")
_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class Stored:
    """A version and the bytes of its file, which agree with its checksum."""

    version: Version
    data: bytes


class Registry:
    """Keeps versions of named artifacts; one version of each name serves.

    A name keeps the kind it serves: an artifact of another one (a classifier where a router serves) is refused.
    Several threads and processes may use one folder. Every change is one atomic replacement of the index, so a
    process that is killed at any moment leaves the folder as it was before the change or after it. Changing needs
    ``flock`` (not Windows); reading does not.

    Example:
        >>> import tempfile
        >>> from tiny_dancer.routing import Router
        >>> registry = Registry(tempfile.mkdtemp(), load=Router)
        >>> added = registry.add("support", _core.data_path("default.safetensors"))
        >>> registry.promote("support", added.version).state
        'serving'
    """

    def __init__(self, folder: str | os.PathLike[str], *, load: Callable[[bytes], object]) -> None:
        """Opens a folder, which need not exist yet.

        Args:
            folder: of the registry.
            load: makes what an artifact's bytes are for, and raises where they are not fit to serve: a version is
                added and promoted only if it loads.

        Raises:
            RegistryError: no path that a folder can have.
        """
        try:
            text = os.fspath(folder)
            os.fsencode(text)
        except (TypeError, ValueError) as error:
            raise RegistryError("registry", repr(folder), "give the path of a folder") from error
        if not isinstance(text, str) or "\0" in text:
            raise RegistryError("registry", repr(folder), "give the path of a folder")
        self.folder = Path(text)
        self._load = load

    def names(self) -> tuple[str, ...]:
        """Names that have versions, sorted.

        Raises:
            RegistryError: the folder cannot be read.
        """
        try:
            found = sorted(each.name for each in self.folder.iterdir())
        except FileNotFoundError:
            return ()
        except OSError as error:
            remedy = "give the path of a registry's folder"
            raise RegistryError("registry", f"{self.folder}: {error.strerror}", remedy) from error
        # Anything else there is not ours.
        return tuple(name for name in found if _NAME.fullmatch(name) and _is_there(self.folder / name / INDEX))

    def versions(self, name: str) -> tuple[Version, ...]:
        """Versions of ``name`` that can be read (:meth:`damage` says which cannot), oldest version first."""
        return tuple(sorted(self._read(name).versions, key=lambda each: each.order))

    def history(self, name: str) -> tuple[Change, ...]:
        """Promotions and rollbacks of ``name``, the last 1,000, oldest first."""
        return self._read(name).history

    def damage(self, name: str) -> tuple[str, ...]:
        """What of the index of ``name`` cannot be read: a sentence an entry; empty where it is whole.

        What is whole goes on serving; nothing can be changed until the index has been restored.
        """
        return self._read(name).damage

    def serving(self, name: str) -> Version:
        """The version of ``name`` that serves.

        Raises:
            RegistryError: none does.
        """
        index = self._read(name)
        found = index.serving
        if found is None and index.damage:
            raise damaged(self._place(name), index)
        if found is None:
            raise RegistryError("name", f"no version of {name} serves", "promote one")
        return found

    def last_known_good(self, name: str) -> Version | None:
        """The version :meth:`rollback` would go to: the last that served before, and whose file is intact."""
        folder = self._place(name)
        return self._fallback(folder, self._read(name))

    def read(self, name: str, version: str | None = None) -> Stored:
        """The bytes of a version, or of the serving one.

        Raises:
            RegistryError: no such version, its file is missing, or differs from its checksum.
        """
        for attempt in range(_ATTEMPTS):
            found = self.serving(name) if version is None else self._read(name).find(version)
            try:
                return Stored(found, self._sound(self._place(name), found))
            except RegistryError:
                # Between index and file, another process may have promoted and collected: look again.
                if attempt == _ATTEMPTS - 1 or found in self._read(name).versions:
                    raise
        raise AssertionError("the loop returns or raises")

    def add(
        self,
        name: str,
        source: str | os.PathLike[str],
        *,
        version: str | None = None,
        bump: str = "patch",
        notes: object = None,
    ) -> Version:
        """Stores an artifact as a new version, which does not serve yet.

        The stored file's header carries the version, so that what decides by it names it; nothing else changes.

        Args:
            name: letters, digits, ``.``, ``_`` and ``-``.
            source: path of an artifact.
            version: ``MAJOR.MINOR.PATCH``; absent, the highest one bumped, or the artifact's own for the first.
            bump: ``major``, ``minor`` or ``patch``.
            notes: anything that JSON holds, up to 64 KiB; none is ``{}``.

        Raises:
            ArtifactError: no sound artifact, as ``load`` says.
            RegistryError: no file, a bad name, a version that is none or exists, notes that JSON does not hold, an
                artifact of another kind than serves, or the folder cannot be written.
        """
        folder = self._place(name)
        if not isinstance(bump, str) or bump not in _BUMPS:
            raise RegistryError("bump", repr(bump), f"choose {', '.join(_BUMPS)}")
        remarks = {} if notes is None else plain_notes(notes)
        if version is not None:
            parse_version(version)
        try:
            data = files.read(source, most=_core.LARGEST_ARTIFACT)
        except OSError as error:
            raise RegistryError("source", f"{source}: {error.strerror}", "give the path of an artifact") from error
        except TypeError as error:
            raise RegistryError("source", repr(source), "give the path of an artifact") from error
        header = _core.read_header(data)
        with locked(folder):
            index = read_whole(folder)
            _check_kind(name, index.serving, str(header.get("kind", "")), "the artifact")
            number = _next_version(index, version, bump, str(header.get("version", "")))
            if any(each.version == number for each in index.versions):
                raise RegistryError("version", number, "exists; give another, or leave it out to have one chosen")
            if header.get("version") != number:
                data = _core.with_header(data, {**header, "version": number})
            load_checked(self._load, data)
            entry = Version(
                version=number,
                state="added",
                sha256=hashlib.sha256(data).hexdigest(),
                size=len(data),
                kind=str(header.get("kind", "")),
                added=_now(),
                created=str(header.get("created", "")),
                # Not every system's names are Unicode.
                source=os.fsdecode(source).encode("utf-8", "backslashreplace").decode(),
                metrics=header.get("metrics") or {},
                notes=remarks,
            )
            # The file first: an index never names a file that is not there. Killed in between, the file has no
            # entry; the next version of this number replaces it, and garbage collection removes it.
            write_whole(_path(folder, number), data)
            write_index(folder, replace(index, versions=(*index.versions, entry)))
        return entry

    def promote(self, name: str, version: str) -> Version:
        """Makes a version the serving one; nothing happens where it is already.

        Raises:
            RegistryError: no such version, it is retired, of another kind than serves, or its file is missing or
                altered. What served goes on serving.
            ArtifactError: it does not load, as ``load`` says.
        """
        folder = self._known(name)
        with locked(folder):
            index = read_whole(folder)
            wanted = index.find(version)
            if wanted.state == "retired":
                raise RegistryError("version", f"{wanted.version} is retired", "add it as a new version")
            before = index.serving
            _check_kind(name, before, wanted.kind, wanted.version)
            load_checked(self._load, self._sound(folder, wanted))
            if before == wanted:
                return wanted
            previous = tuple(each for each in index.previous if each != wanted.version)
            if before is not None:
                previous = (*previous, before.version)
            return self._serve(folder, index, wanted, previous, "promote")

    def rollback(self, name: str) -> Version:
        """Makes the last-known-good version serve again: the last one that served before and still loads.

        Raises:
            RegistryError: no earlier version that could serve; the present one goes on.
        """
        folder = self._known(name)
        with locked(folder):
            index = read_whole(folder)
            reasons = []
            for place in range(len(index.previous) - 1, -1, -1):
                wanted = index.find(index.previous[place])
                try:
                    _check_kind(name, index.serving, wanted.kind, wanted.version)
                    load_checked(self._load, self._sound(folder, wanted))
                except TinyDancerError as error:
                    reasons.append(f"{wanted.version}: {error}")
                    continue
                return self._serve(folder, index, wanted, index.previous[:place], "rollback")
        found = "; ".join(reasons) or f"{name} has no version that served before"
        raise RegistryError("rollback", found, "promote a version")

    def retire(self, name: str, version: str) -> Version:
        """Takes a version out of use: it can no longer be promoted nor rolled back to.

        Raises:
            RegistryError: no such version, or it serves.
        """
        folder = self._known(name)
        with locked(folder):
            index = read_whole(folder)
            found = index.find(version)
            if found.state == "serving":
                raise RegistryError("version", f"{found.version} serves", "promote another one first")
            retired = replace(found, state="retired")
            versions = tuple(retired if each == found else each for each in index.versions)
            previous = tuple(each for each in index.previous if each != found.version)
            write_index(folder, replace(index, versions=versions, previous=previous))
        return retired

    def collect_garbage(self, name: str, *, keep: int) -> tuple[Version, ...]:
        """Removes retired versions and all but the ``keep`` highest others; gives what was removed.

        The serving and the last-known-good version stay in any case and do not count. Files that no version owns
        (a process was killed while adding) are removed too.

        Raises:
            RegistryError: ``keep`` below 0.
        """
        try:
            keep = operator.index(keep)
        except TypeError:
            keep = -1
        if keep < 0:
            raise RegistryError("keep", repr(keep), "give a whole number ≥ 0")
        folder = self._known(name)
        with locked(folder):
            index = read_whole(folder)
            protected = {each.version for each in (index.serving, self._fallback(folder, index)) if each}
            spare = [each for each in index.versions if each.version not in protected]
            usable = sorted((each for each in spare if each.state == "added"), key=lambda each: each.order)
            kept = protected | {each.version for each in usable[max(0, len(usable) - keep) :]}
            removed = tuple(each for each in index.versions if each.version not in kept)
            if removed:
                versions = tuple(each for each in index.versions if each.version in kept)
                previous = tuple(each for each in index.previous if each in kept)
                write_index(folder, replace(index, versions=versions, previous=previous))
            # The index first: killed in between, the files are without an owner and go the next time.
            owned = {_path(folder, version).name for version in kept} | {INDEX, LOCK}
            try:
                for path in folder.iterdir():
                    ours = path.name.endswith(PART) or (path.name[0] == "v" and path.suffix == ".safetensors")
                    if ours and path.name not in owned and not (path.is_dir() and not path.is_symlink()):
                        path.unlink(missing_ok=True)
                sync_folder(folder)
            except OSError as error:
                raise RegistryError("registry", f"{folder}: {error.strerror}", "check its permissions") from error
        return removed

    def _serve(
        self, folder: Path, index: Index, wanted: Version, previous: tuple[str, ...], action: str
    ) -> Version:
        serving = replace(wanted, state="serving")
        states = {"serving": "added"}
        versions = tuple(
            serving if each == wanted else replace(each, state=states.get(each.state, each.state))
            for each in index.versions
        )
        history = recorded(index.history, Change(_now(), action, wanted.version))
        write_index(folder, replace(index, versions=versions, previous=previous, history=history))
        return serving

    def _fallback(self, folder: Path, index: Index) -> Version | None:
        for version in reversed(index.previous):
            found = index.find(version)
            try:
                self._sound(folder, found)
            except RegistryError:
                continue
            return found
        return None

    def _sound(self, folder: Path, version: Version) -> bytes:
        """The bytes of a version's file, checked."""
        path = _path(folder, version.version)
        try:
            data = files.read(path, most=_core.LARGEST_ARTIFACT)
        except OSError as error:
            raise RegistryError(
                "file", f"{path}: {error.strerror}", "add the artifact as a new version"
            ) from error
        if hashlib.sha256(data).hexdigest() != version.sha256:
            raise RegistryError(
                "checksum", f"{path} has changed since it was added", "add the artifact as a new version"
            )
        return data

    def _read(self, name: str) -> Index:
        return read_index(self._known(name))

    def _place(self, name: str) -> Path:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise RegistryError(
                "name", repr(name), "use letters, digits, '.', '_' and '-', a letter or digit first"
            )
        return self.folder / name

    def _known(self, name: str) -> Path:
        """The folder of a name that has been added to: a mistyped one makes no folder."""
        folder = self._place(name)
        if not _is_there(folder / INDEX):
            known = ", ".join(self.names()) or "none yet"
            raise RegistryError("name", f"{name} is not in {self.folder}", f"the names are: {known}")
        return folder


def _path(folder: Path, version: str) -> Path:
    return folder / f"v{version}.safetensors"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _is_there(path: Path) -> bool:
    """Whether something is, even what may not be seen: that is said when it is needed."""
    try:
        path.lstat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _check_kind(name: str, serving: Version | None, kind: str, what: str) -> None:
    """Passes what is of the kind that serves: those who follow the name can use no other.

    Raises:
        RegistryError: it is of another one.
    """
    if serving is not None and kind != serving.kind:
        found = f"{what} is a {kind}, and {name} serves {serving.version}, a {serving.kind}"
        raise RegistryError("kind", found, f"add it under another name than {name}")


def _next_version(index: Index, version: str | None, bump: str, own: str) -> str:
    if version is not None:
        numbers = parse_version(version)
    elif not index.versions:
        try:
            numbers = parse_version(own)
        except RegistryError:  # a header may say 1.0.0-rc1; a registry counts in triples
            numbers = (1, 0, 0)
    else:
        major, minor, patch = max(each.order for each in index.versions)
        bumped = {"major": (major + 1, 0, 0), "minor": (major, minor + 1, 0), "patch": (major, minor, patch + 1)}
        numbers = bumped[bump]
    chosen = ".".join(map(str, numbers))
    try:
        parse_version(chosen)
    except RegistryError:
        raise RegistryError(
            "version", f"{chosen} would be the next", "give one yourself, or another bump"
        ) from None
    return chosen
