"""YAML files as typed configuration: each problem is reported with the key's path, and no secret is ever shown.

The file is data only: no tags, one document, bounded size, YAML 1.2's plain scalars (``off`` is a word, ``1e-6`` a
number). ``${NAME}`` and ``${NAME:-default}`` in values, never in keys, stand for environment variables and are put
in after parsing: what a variable holds is never read as YAML.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar, Union, get_args, get_origin

import msgspec
import yaml

from tiny_dancer import files
from tiny_dancer.errors import ConfigError, TinyDancerError
from tiny_dancer.names import did_you_mean, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

T = TypeVar("T")
E = TypeVar("E", bound=TinyDancerError)

_LARGEST = 1 << 20  # bytes of a file
_MOST_NODES = 100_000  # values of a file, each use of an alias counted
_DEEPEST = 32  # mappings and lists within each other
_SECRET = frozenset({"api_key", "headers"})
_VARIABLE = re.compile(r"\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})?")
_SCALARS: dict[Any, str] = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}
_HIDDEN = "***"
# Shorter values are words: striking them would only garble messages.
_SHORTEST_SECRET = 4


@dataclass(frozen=True, slots=True)
class Loaded(Generic[T]):
    """A configuration as read.

    Attributes:
        value: the configuration.
        from_environment: paths of the values that hold an environment variable: no error may show them.
    """

    value: T
    from_environment: frozenset[str]


def load(path: str | os.PathLike[str], type: type[T]) -> Loaded[T]:
    """The configuration in a file.

    Args:
        path: of a YAML file of at most 1 MiB.
        type: a msgspec struct.

    Raises:
        ConfigError: the file cannot be read, is no YAML, or does not fit the type. ``field`` is the path of the
            first key at fault (``upstreams.openai.timeout``), or the file's; further problems are its notes.
    """
    try:
        data = files.read(path, most=_LARGEST)
    except OSError as error:
        raise ConfigError(str(path), error.strerror or "cannot be read", "check the path") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), f"byte {error.start} is not UTF-8", "save the file as UTF-8") from None
    return _read(text, type, str(path))


def parse(text: str, type: type[T], source: str) -> T:
    """The configuration in a text; ``source`` names it where an error has no key.

    Raises:
        ConfigError: as :func:`load`.
    """
    return _read(text, type, source).value


def _read(text: str, type: type[T], source: str) -> Loaded[T]:
    if len(text) > _LARGEST:
        raise ConfigError(source, "larger than 1 MiB", "this is no configuration")
    try:
        node = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        # PyYAML's own text quotes the line, and names what it found there: either may be a secret.
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        problem = re.sub(r"'[^']*'", _unquoted, error.problem or "cannot be read as YAML")
        raise ConfigError(where, problem, "correct the YAML there") from None
    except yaml.YAMLError:
        raise ConfigError(source, "holds characters YAML does not allow", "save it as plain text") from None
    except RecursionError:
        raise ConfigError(source, "nested too deeply", f"use at most {_DEEPEST} levels") from None
    reader = _Reader(source)
    tree = reader.value(node, ())
    reader.finish()
    fitted = reader.fitted(tree, type, ())
    reader.finish()
    return Loaded(msgspec.convert(fitted, type), frozenset(reader.from_environment))


def raise_all(problems: Sequence[ConfigError], hidden: Collection[str] = ()) -> None:
    """Raises the first problem with the others as its notes, or nothing where there is none.

    Values of the fields in ``hidden`` (:attr:`Loaded.from_environment`) are not shown.
    """
    if not problems:
        return
    first, *others = (
        ConfigError(each.field, _HIDDEN, each.remedy) if each.field in hidden else each for each in problems
    )
    for other in others[:20]:
        first.add_note(str(other))
    if len(others) > 20:
        first.add_note(f"and {len(others) - 20} more problems")
    raise first


def without_environment(error: E, path: str | os.PathLike[str]) -> E:
    """An error that came of a configuration after it was read, with ``${NAME}`` for what the environment had put
    there: a path may be shown, and what stands where a path belongs may be a secret.

    Args:
        error: to be told.
        path: of the file.
    """
    try:
        names = {match[1] for match in _VARIABLE.finditer(files.read(path, most=_LARGEST).decode()) if match[1]}
    except (OSError, UnicodeDecodeError):
        return error
    values = {value: name for name in names if len(value := os.environ.get(name, "")) >= _SHORTEST_SECRET}
    said = [error.field, error.value, error.remedy]
    for value in sorted(values, key=len, reverse=True):
        said = [each.replace(value, f"${{{values[value]}}}") for each in said]
    if said == [error.field, error.value, error.remedy]:
        return error
    return type(error)(*said)


class _Loader(yaml.SafeLoader):
    """Plain scalars as in YAML 1.2's core schema, without infinities: ``yes``, ``off`` and dates are text."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (PyYAML's own name and type)


for _tag, _pattern, _first in (
    ("null", r"(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", list("-+0123456789")),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", list("-+0123456789.")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


def _unquoted(match: re.Match[str]) -> str:
    """Of what a message quotes, single characters and the names of YAML's own tokens."""
    return match[0] if len(match[0]) <= 4 or match[0][1] == "<" else "something"


def _whole(text: str) -> int:
    return int(text, {"0x": 16, "0o": 8}.get(text[:2], 10))


def _truth(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


_PLAIN: dict[str, Callable[[str], Any]] = {
    "tag:yaml.org,2002:null": lambda text: None,
    "tag:yaml.org,2002:bool": _truth,
    "tag:yaml.org,2002:int": _whole,
    "tag:yaml.org,2002:float": float,
    "tag:yaml.org,2002:str": str,
}


class _FromEnvironment(str):
    """A text that holds an environment variable: may become a number, is never shown."""

    __slots__ = ()


class _Reader:
    """YAML nodes to values, values to what a type asks for; collects what is wrong on the way."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._problems: list[ConfigError] = []
        self._nodes = 0
        self.from_environment: set[str] = set()

    def finish(self) -> None:
        """Raises what was found so far, if anything."""
        raise_all(self._problems)

    def value(self, node: yaml.Node | None, path: tuple[str, ...]) -> Any:
        """Mappings, lists and scalars, with variables put in; keys are the text as written."""
        self._nodes += 1
        if self._nodes > _MOST_NODES or len(path) > _DEEPEST:
            what = f"more than {_MOST_NODES:,} values" if len(path) <= _DEEPEST else "nested too deeply"
            raise ConfigError(self._source, what, "this is no configuration; check its aliases")
        if isinstance(node, yaml.MappingNode):
            found: dict[str, Any] = {}
            for key, each in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    self._refuse(path, "a key that is no text", "write `name: value`")
                elif key.value in found:
                    self._refuse((*path, key.value), "twice", f"remove it (line {key.start_mark.line + 1})")
                else:
                    found[key.value] = self.value(each, (*path, key.value))
            return found
        if isinstance(node, yaml.SequenceNode):
            return [self.value(each, (*path, str(place))) for place, each in enumerate(node.value)]
        return self._scalar(node, path) if isinstance(node, yaml.ScalarNode) else None  # None: an empty file

    def _scalar(self, node: yaml.ScalarNode, path: tuple[str, ...]) -> Any:
        made = _PLAIN.get(node.tag)
        if made is None:
            return self._refuse(
                path, "has a tag", "tags (`!name`) are not read; quote a text that starts with `!`"
            )
        try:
            value = made(node.value)
        except (ValueError, KeyError):  # `!!int x`, or more digits than Python reads
            return self._refuse(path, "not what its tag says", "correct the value")
        return self._substituted(value, path) if isinstance(value, str) and "${" in value else value

    def _substituted(self, text: str, path: tuple[str, ...]) -> str:
        def replacement(match: re.Match[str]) -> str:
            name, default = match.groups()
            if name is None:
                self._refuse(path, "a `${` that names no variable", "write ${NAME} or ${NAME:-default}")
                return ""
            found = os.environ.get(name)
            if default is not None:
                return found or default
            if found is None:
                remedy = f"set it, or write ${{{name}:-default}}"
                self._refuse(path, f"the environment variable {name} is not set", remedy)
            return found or ""

        self.from_environment.add(".".join(path))
        return _FromEnvironment(_VARIABLE.sub(replacement, text))

    def fitted(self, value: Any, wanted: Any, path: tuple[str, ...]) -> Any:
        """``value`` as builtins that ``msgspec.convert(…, wanted)`` takes."""
        alternatives = _alternatives(wanted)
        if isinstance(value, dict):
            for each in alternatives:
                plain = _plain(each)
                if isinstance(plain, type) and issubclass(plain, msgspec.Struct):
                    return self._section(value, plain, path)
                if get_origin(plain) is dict:
                    return self._mapping(value, plain, path)
        elif isinstance(value, list):
            for each in alternatives:
                if get_origin(plain := _plain(each)) is list:
                    (item,) = get_args(plain)
                    items = [self.fitted(one, item, (*path, str(at))) for at, one in enumerate(value)]
                    return self._leaf(items, _with_limits(each, list[Any]), wanted, path)
        elif scalars := [each for each in alternatives if _is_scalar(_plain(each))]:
            return self._leaf(value, Union[tuple(scalars)], wanted, path)  # noqa: UP007 (made while running)
        # A text in place of a mapping or list is often a key, which belongs a level deeper.
        shown = "a text" if isinstance(value, str) else self._shown(value, path)
        return self._refuse(path, shown, f"expected {_expected(wanted)}")

    def _section(self, value: dict[str, Any], wanted: type[msgspec.Struct], path: tuple[str, ...]) -> Any:
        fields = {each.encode_name: each for each in msgspec.structs.fields(wanted)}
        found = {}
        for key, each in value.items():
            if key in fields:
                found[key] = self.fitted(each, fields[key].type, (*path, key))
            else:
                self._refuse((*path, key), "unknown key", did_you_mean(key, fields, "known keys"))
        for name, known in fields.items():
            if known.required and name not in value:
                self._refuse((*path, name), "missing", f"expected {_expected(known.type)}")
        return found

    def _mapping(self, value: dict[str, Any], wanted: Any, path: tuple[str, ...]) -> Any:
        keys, values = get_args(wanted)
        for key in value:
            try:
                msgspec.convert(key, keys)
            except msgspec.ValidationError:
                self._refuse((*path, key), "not a name used here", _remedy(key, keys))
        return {key: self.fitted(each, values, (*path, key)) for key, each in value.items()}

    def _leaf(self, value: Any, kind: Any, wanted: Any, path: tuple[str, ...]) -> Any:
        text = any(_plain(each) is str or get_origin(_plain(each)) is Literal for each in _alternatives(kind))
        # A variable is text, whatever it holds: only where text will not do may it become something else.
        from_environment = isinstance(value, _FromEnvironment)
        given = str(value) if from_environment else value
        try:
            found = msgspec.convert(given, kind, strict=text or not from_environment)
        except msgspec.ValidationError:
            return self._refuse(path, self._shown(value, path), _remedy(value, wanted))
        if isinstance(found, float) and not math.isfinite(found):
            return self._refuse(path, self._shown(value, path), "expected a finite number")
        return found

    def _refuse(self, path: tuple[str, ...], value: str, remedy: str) -> None:
        where = ".".join(each if len(each) <= 80 else each[:79] + "…" for each in path)
        self._problems.append(ConfigError(where or self._source, value, remedy))

    def _shown(self, value: Any, path: tuple[str, ...]) -> str:
        if isinstance(value, dict):
            return "a mapping"
        if isinstance(value, list):
            return "an empty list" if not value else "a list"
        if value is None:
            return "nothing"
        if isinstance(value, _FromEnvironment) or not _SECRET.isdisjoint(path):
            return _HIDDEN
        text = repr(value) if isinstance(value, str) else str(value).lower()
        return text if len(text) <= 80 else text[:79] + "…"


def _plain(wanted: Any) -> Any:
    return get_args(wanted)[0] if get_origin(wanted) is Annotated else wanted


def _with_limits(wanted: Any, plain: Any) -> Any:
    return Annotated[(plain, *get_args(wanted)[1:])] if get_origin(wanted) is Annotated else plain


def _alternatives(wanted: Any) -> list[Any]:
    return list(get_args(wanted)) if get_origin(wanted) in (Union, UnionType) else [wanted]


def _is_scalar(plain: Any) -> bool:
    return plain in _SCALARS or plain is type(None) or get_origin(plain) is Literal


def _remedy(value: Any, wanted: Any) -> str:
    words = [each for kind in _alternatives(wanted) for each in get_args(kind) if get_origin(kind) is Literal]
    near = nearest(value, words) if isinstance(value, str) and not isinstance(value, _FromEnvironment) else None
    hint = f"; did you mean {near}?" if near else ""
    if isinstance(value, int | float) and str in map(_plain, _alternatives(wanted)):
        hint = "; put it in quotes"
    return f"expected {_expected(wanted)}{hint}"


def _expected(wanted: Any) -> str:
    """In words, what a type takes."""
    return " or ".join(_words(each) for each in _alternatives(wanted) if each is not type(None))


def _words(kind: Any) -> str:
    plain = _plain(kind)
    if get_origin(plain) is Literal:
        return " or ".join(map(str, get_args(plain)))
    limits = [each for each in get_args(kind)[1:] if isinstance(each, msgspec.Meta)] if plain is not kind else []
    if get_origin(plain) is list:
        return "a list with at least one item" if any(each.min_length for each in limits) else "a list"
    if plain not in _SCALARS:
        return "a mapping"
    bounds = (("above", "gt"), ("of at least", "ge"), ("below", "lt"), ("of at most", "le"))
    said = [
        f"{word} {getattr(each, name):g}"
        for each in limits
        for word, name in bounds
        if getattr(each, name) is not None
    ]
    lengths = [
        f"of {each.min_length or 0} to {each.max_length} characters"
        for each in limits
        if each.max_length is not None
    ]
    return " ".join([_SCALARS[plain], " and ".join(said + lengths)]).strip()
