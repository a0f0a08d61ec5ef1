"""JSON schemas: whether one is a schema that can be checked here, and whether a value fits it.

The part of draft 2020-12 that describes answers and arguments of functions: types, values, objects, lists,
alternatives and references within the schema. What only annotates (``title``, ``description``, ``format`` …) is
passed over, as the standard says; a word that restricts and is not checked here is refused, never passed over.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from tiny_dancer.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["check_schema", "misfit"]

_TYPES: Final[dict[str, Callable[[Any], bool]]] = {
    "object": lambda value: isinstance(value, Mapping),
    "array": lambda value: isinstance(value, list | tuple),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: _is_number(value),
    "integer": lambda value: _is_number(value) and float(value).is_integer(),
}
_NOT_CHECKED: Final = frozenset(
    (
        *("not", "if", "then", "else", "contains", "minContains", "maxContains", "patternProperties"),
        *("propertyNames", "dependentRequired", "dependentSchemas", "dependencies", "unevaluatedProperties"),
        *("unevaluatedItems", "additionalItems", "$dynamicRef", "$recursiveRef", "minProperties", "maxProperties"),
    )
)
_LISTS_OF_SCHEMAS: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
_MAPS_OF_SCHEMAS: Final = ("properties", "$defs", "definitions")
_COUNTS: Final = ("minLength", "maxLength", "minItems", "maxItems")
_BOUNDS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_DEEPEST: Final = 64


def check_schema(schema: Any, field: str) -> None:
    """Refuses what is no JSON schema, or restricts by words that are not checked here.

    Args:
        schema: of draft 2020-12, or an older one that says the same.
        field: whose it is, for the error.

    Raises:
        OptionError: ``field`` is the place within the schema.
    """
    _check(schema, field, schema, 0)


def _check(schema: Any, field: str, root: Any, depth: int) -> None:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, Mapping):
        raise OptionError(field, type(schema).__name__, "give a JSON schema: an object")
    if depth > _DEEPEST:
        raise OptionError(field, f"nested more than {_DEEPEST} deep", "give a flatter JSON schema")
    for word in schema:
        if word in _NOT_CHECKED:
            raise OptionError(f"{field}.{word}", "not checked here", "leave it out, or say it by other words")
    types = schema.get("type", [])
    for name in [types] if isinstance(types, str) else types if isinstance(types, list) else [types]:
        if not isinstance(name, str) or name not in _TYPES:
            raise OptionError(f"{field}.type", repr(name), f"give one of {', '.join(_TYPES)}")
    if "enum" in schema and not (isinstance(schema["enum"], list) and schema["enum"]):
        raise OptionError(f"{field}.enum", repr(schema["enum"]), "give a list of at least one value")
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(each, str) for each in required):
        raise OptionError(f"{field}.required", repr(required), "give a list of names")
    for word in _COUNTS:
        if word in schema and not (_is_number(schema[word]) and schema[word] >= 0):
            raise OptionError(f"{field}.{word}", repr(schema[word]), "give a whole number from 0 on")
    for word in _BOUNDS:
        if word in schema and not (_is_number(schema[word]) and (word != "multipleOf" or schema[word] > 0)):
            raise OptionError(f"{field}.{word}", repr(schema[word]), "give a number; multipleOf is above 0")
    if "pattern" in schema:
        try:
            re.compile(schema["pattern"])
        except (re.error, TypeError, RecursionError, OverflowError) as error:
            raise OptionError(f"{field}.pattern", str(error), "give a regular expression") from None
    if "$ref" in schema:
        _check_reference(schema["$ref"], f"{field}.$ref", root)
    for place, part in _parts(schema, field):
        _check(part, place, root, depth + 1)


def _parts(schema: Mapping[str, Any], field: str) -> Iterator[tuple[str, Any]]:
    """The schemas in a schema, and where they stand."""
    for word in _MAPS_OF_SCHEMAS:
        if word in schema:
            if not isinstance(schema[word], Mapping):
                raise OptionError(f"{field}.{word}", type(schema[word]).__name__, "give an object of schemas")
            for name, part in schema[word].items():
                yield f"{field}.{word}.{name}", part
    for word in _LISTS_OF_SCHEMAS:
        if word in schema:
            if not isinstance(schema[word], list) or not schema[word]:
                raise OptionError(f"{field}.{word}", repr(schema[word]), "give a list of at least one schema")
            for at, part in enumerate(schema[word]):
                yield f"{field}.{word}[{at}]", part
    for word in ("items", "additionalProperties"):
        if word in schema:
            yield f"{field}.{word}", schema[word]


def _check_reference(reference: Any, field: str, root: Any) -> None:
    """It leads to a schema, and not back to itself without anything in between."""
    seen = []
    while True:
        if reference in seen:
            raise OptionError(field, reference, "it refers to itself alone; say what it is")
        seen.append(reference)
        found = _referred(reference, root)
        if found is None:
            raise OptionError(field, repr(reference), "give a reference within the schema, such as #/$defs/name")
        if not (isinstance(found, Mapping) and "$ref" in found):
            return
        reference = found["$ref"]


def _referred(reference: Any, root: Any) -> Any:
    """What a reference within a schema leads to; None for nothing."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        return None
    found = root
    for part in reference[1:].split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        elif isinstance(found, Mapping) and name in found:
            found = found[name]
        else:
            return None
    return found if isinstance(found, Mapping | bool) else None


def misfit(value: Any, schema: Mapping[str, Any]) -> str | None:
    """Why a value does not fit a schema that :func:`check_schema` has passed: place and reason of the first fault;
    None where it fits."""
    return _misfit(value, schema, "answer", schema, 0)


def _misfit(value: Any, schema: Any, at: str, root: Any, depth: int) -> str | None:
    if isinstance(schema, bool):
        return None if schema else f"{at} may not be there"
    if depth > 4 * _DEEPEST:
        return f"{at} is nested too deeply"
    if "$ref" in schema:
        found = _misfit(value, _referred(schema["$ref"], root), at, root, depth + 1)
        if found is not None:
            return found
    types = schema.get("type")
    if types is not None:
        names = [types] if isinstance(types, str) else types
        if not any(_TYPES[name](value) for name in names):
            return f"{at} is not of type {' or '.join(names)}"
    if "enum" in schema and not any(_same(value, each) for each in schema["enum"]):
        return f"{at} is none of the values allowed"
    if "const" in schema and not _same(value, schema["const"]):
        return f"{at} is not the value required"
    for check in (_misfit_number, _misfit_text, _misfit_object, _misfit_list, _misfit_alternatives):
        found = check(value, schema, at, root, depth)
        if found is not None:
            return found
    return None


def _misfit_number(value: Any, schema: Mapping[str, Any], at: str, _root: Any, _depth: int) -> str | None:
    if not _is_number(value):
        return None
    if "minimum" in schema and value < schema["minimum"]:
        return f"{at} is below {schema['minimum']}"
    if "maximum" in schema and value > schema["maximum"]:
        return f"{at} is above {schema['maximum']}"
    if "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
        return f"{at} is not above {schema['exclusiveMinimum']}"
    if "exclusiveMaximum" in schema and value >= schema["exclusiveMaximum"]:
        return f"{at} is not below {schema['exclusiveMaximum']}"
    if "multipleOf" in schema:
        parts = value / schema["multipleOf"]
        if not math.isclose(parts, round(parts), rel_tol=1e-9, abs_tol=1e-9):
            return f"{at} is no multiple of {schema['multipleOf']}"
    return None


def _misfit_text(value: Any, schema: Mapping[str, Any], at: str, _root: Any, _depth: int) -> str | None:
    if not isinstance(value, str):
        return None
    if len(value) < schema.get("minLength", 0):
        return f"{at} is shorter than {schema['minLength']} characters"
    if len(value) > schema.get("maxLength", len(value)):
        return f"{at} is longer than {schema['maxLength']} characters"
    if "pattern" in schema and not re.search(schema["pattern"], value):
        return f"{at} does not match the pattern"
    return None


def _misfit_object(value: Any, schema: Mapping[str, Any], at: str, root: Any, depth: int) -> str | None:
    if not isinstance(value, Mapping):
        return None
    for name in schema.get("required", []):
        if name not in value:
            return f"{at}.{name} is missing"
    known = schema.get("properties", {})
    for name, each in value.items():
        part = known[name] if name in known else schema.get("additionalProperties", True)
        found = _misfit(each, part, f"{at}.{str(name)[:100]}", root, depth + 1)
        if found is not None:
            return found
    return None


def _misfit_list(value: Any, schema: Mapping[str, Any], at: str, root: Any, depth: int) -> str | None:
    if not isinstance(value, list | tuple):
        return None
    if len(value) < schema.get("minItems", 0):
        return f"{at} has fewer than {schema['minItems']} items"
    if len(value) > schema.get("maxItems", len(value)):
        return f"{at} has more than {schema['maxItems']} items"
    if schema.get("uniqueItems") is True and any(
        _same(each, other) for place, each in enumerate(value) for other in value[:place]
    ):
        return f"{at} has an item twice"
    first = schema.get("prefixItems", [])
    for place, each in enumerate(value):
        part = first[place] if place < len(first) else schema.get("items", True)
        found = _misfit(each, part, f"{at}[{place}]", root, depth + 1)
        if found is not None:
            return found
    return None


def _misfit_alternatives(value: Any, schema: Mapping[str, Any], at: str, root: Any, depth: int) -> str | None:
    for part in schema.get("allOf", ()):
        found = _misfit(value, part, at, root, depth + 1)
        if found is not None:
            return found
    for word in ("anyOf", "oneOf"):
        if word in schema:
            fitting = sum(_misfit(value, part, at, root, depth + 1) is None for part in schema[word])
            if not fitting:
                return f"{at} fits none of the alternatives"
            if word == "oneOf" and fitting > 1:
                return f"{at} fits {fitting} of the alternatives, and may fit one"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _same(value: Any, other: Any) -> bool:
    """Equal as JSON is: 1 and 1.0 are the same number, true is none."""
    if isinstance(value, bool) or isinstance(other, bool):
        return value is other
    if isinstance(value, Mapping) and isinstance(other, Mapping):
        return value.keys() == other.keys() and all(_same(value[name], other[name]) for name in value)
    if isinstance(value, list | tuple) and isinstance(other, list | tuple):
        return len(value) == len(other) and all(map(_same, value, other))
    return bool(value == other)
