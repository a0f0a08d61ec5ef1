"""YAML to typed configuration: what fits is read, what does not is named, and no secret is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct, field

from tiny_dancer.config import load, parse
from tiny_dancer.errors import ConfigError
from tiny_dancer.names import nearest

if TYPE_CHECKING:
    from pathlib import Path


class Inner(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    base_url: str
    api_key: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    timeout: Annotated[float, Meta(gt=0)] = 5.0
    tries: Annotated[int, Meta(ge=1)] | None = None


class Reference(Struct, frozen=True, forbid_unknown_fields=True):
    folder: str


class Outer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    servers: dict[Annotated[str, Meta(min_length=1)], Inner] = field(default_factory=dict)
    kind: Literal["small", "large"] = "small"
    on: bool = False
    size: float = 1.0
    names: Annotated[list[str], Meta(min_length=1)] = field(default_factory=lambda: ["a"])
    parts: list[Inner] = field(default_factory=list)
    where: str | Reference = ""
    by_kind: dict[Literal["small", "large"], int] = field(default_factory=dict)


def refused(text: str, type: type[Any] = Outer) -> list[str]:
    """Every problem, as it is printed."""
    with pytest.raises(ConfigError) as caught:
        parse(text, type, "test.yaml")
    return [str(caught.value), *getattr(caught.value, "__notes__", ())]


def test_what_fits_is_read(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(
        b"\xef\xbb\xbf" + "servers: {é: {base_url: x, timeout: 3}}\nsize: 1e-6\nwhere: {folder: f}".encode()
    )
    assert load(path, Outer).value == Outer(
        servers={"é": Inner(base_url="x", timeout=3.0)}, size=1e-6, where=Reference("f")
    )
    shared = "parts: [&one {base_url: x}, *one]"
    assert parse(shared, Outer, "").parts == [Inner(base_url="x")] * 2


@pytest.mark.parametrize(
    "word", ["off", "on", "yes", "no", "2024-10-21", "1:30", "0x", "1_000", ".inf", ".nan", "y"]
)
def test_words_that_older_yaml_takes_for_something_else_are_text(word: str) -> None:
    assert parse(f"where: {word}", Outer, "").where == word


leaves = (
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)
)
trees = st.recursive(
    leaves | st.text(st.characters(codec="utf-8", exclude_characters="$\x85")),
    lambda each: st.lists(each, max_size=4) | st.dictionaries(st.text("abcdefgh", min_size=1), each, max_size=4),
    max_leaves=20,
)


class Anything(Struct, frozen=True):
    value: Any = None


@given(trees)
def test_any_text_that_is_no_configuration_is_refused_and_nothing_else_happens(tree: Any) -> None:
    text = yaml.safe_dump(tree, allow_unicode=True)
    try:
        parse(text, Outer, "test.yaml")
    except ConfigError as error:
        assert str(error)
    else:
        assert tree in ({}, None) or set(tree) <= {each.name for each in msgspec.structs.fields(Outer)}


@given(st.text(st.characters(codec="utf-8")))
def test_no_text_at_all_gets_past_as_another_exception(text: str) -> None:
    with pytest.raises(ConfigError):
        parse(f"servers: 5\nkind: {text}", Outer, "test.yaml")


def test_every_problem_is_named_by_the_path_of_its_key() -> None:
    text = """
servers:
  one: {base_url: x, timout: 5, tries: 0}
  two: {timeout: no, api_key: 5}
knd: small
kind: smal
on: 1
names: []
parts: [{base_url: x}, 7]
where: {}
by_kind: {larg: 1}
size:
"""
    assert refused(text) == [
        "servers.one.timout: unknown key; did you mean timeout?",
        "servers.one.tries: 0; expected a whole number of at least 1",
        "servers.two.timeout: 'no'; expected a number above 0",
        "servers.two.api_key: ***; expected text; put it in quotes",
        "servers.two.base_url: missing; expected text",
        "knd: unknown key; did you mean kind?",
        "kind: 'smal'; expected small or large; did you mean small?",
        "on: 1; expected true or false",
        "names: an empty list; expected a list with at least one item",
        "parts.1: 7; expected a mapping",
        "where.folder: missing; expected text",
        "by_kind.larg: not a name used here; expected small or large; did you mean large?",
        "size: nothing; expected a number",
    ]
    many = "servers: {" + ", ".join(f"s{i}: {{}}" for i in range(30)) + "}"
    assert len(refused(many)) == 22
    assert refused(many)[-1] == "and 9 more problems"


@given(st.sampled_from([each.name for each in msgspec.structs.fields(Outer)]), st.integers(0, 6))
def test_a_slip_of_one_letter_is_recognised(name: str, place: int) -> None:
    place = min(place, len(name) - 1)
    slip = name[:place] + name[place + 1 :] if len(name) > 3 else name + "s"
    assert nearest(slip, [each.name for each in msgspec.structs.fields(Outer)]) == name


def test_variables_stand_in_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TD_KEY", "sk-1 # : {${TD_OTHER}")
    monkeypatch.setenv("TD_EMPTY", "")
    monkeypatch.setenv("TD_SIZE", "2.5")
    monkeypatch.setenv("TD_TRIES", "3")
    monkeypatch.setenv("TD_NULL", "null")
    monkeypatch.delenv("TD_UNSET", raising=False)
    text = """
servers:
  ${TD_KEY}:
    base_url: http://${TD_UNSET:-here}/${TD_EMPTY:-e}${TD_EMPTY}
    api_key: ${TD_KEY}
    tries: ${TD_TRIES}
  "null": {base_url: x, api_key: "${TD_NULL}"}
on: ${TD_UNSET:-true}
size: ${TD_SIZE}
where: ${TD_TRIES}
"""
    found = parse(text, Outer, "")
    assert found.servers["${TD_KEY}"] == Inner(base_url="http://here/e", api_key="sk-1 # : {${TD_OTHER}", tries=3)
    assert found.servers["null"].api_key == "null", "a text stays one where a text is expected"
    assert (found.on, found.size, found.where) == (True, 2.5, "3")


def test_a_variable_that_is_not_set_is_named_with_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TD_UNSET", raising=False)
    text = "servers: {a: {base_url: x, headers: {h: 'Bearer ${TD_UNSET}'}}}\nwhere: ${}\nnames: ['${a b}']"
    assert refused(text) == [
        "servers.a.headers.h: the environment variable TD_UNSET is not set; set it, or write ${TD_UNSET:-default}",
        "where: a `${` that names no variable; write ${NAME} or ${NAME:-default}",
        "names.0: a `${` that names no variable; write ${NAME} or ${NAME:-default}",
    ]


def test_what_comes_from_the_environment_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TD_KEY", "value")
    path = tmp_path / "test.yaml"
    path.write_text("servers: {a: {base_url: 'x${TD_KEY}', api_key: k}}\nnames: [b, '${TD_UNSET:-c}']")
    assert load(path, Outer).from_environment == {"servers.a.base_url", "names.1"}


SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    "text",
    [
        f"servers: {{a: {{base_url: x, api_key: [{SECRET}]}}}}",
        f"servers: {{a: {{base_url: x, headers: {SECRET}}}}}",
        "servers: {a: {base_url: x, headers: {h: 77777777}}}",
        "servers: {a: {base_url: x, tries: '${TD_SECRET}'}}",
        "servers: {a: {base_url: x, timeout: '${TD_SECRET}'}}",
        "kind: ${TD_SECRET}",
        "on: x${TD_SECRET}",
        "names: ${TD_SECRET}",
        f"servers: {{a: {{base_url: x, api_key: {SECRET}",
        f"api_key: *{SECRET}",
        f"api_key: &{SECRET} x\nb: &{SECRET} y\nc: [",
        f"api_key {SECRET}\nb: c",
        f"api_key: !{SECRET} x",
        f"api_key: '{SECRET}\nb: c",
        f"api_key: %{SECRET}",
        f'api_key: "\\{SECRET}"',
        f"api_key: {SECRET}: x",
        f"api_key: |{SECRET}\n x",
        f"%{SECRET} 5\n---\na: b",
        f"api_key: {SECRET}\x00",
        f"servers: {{a: {SECRET}}}",
        f"servers: {SECRET}",
    ],
)
def test_no_error_shows_a_secret(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TD_SECRET", SECRET)
    said = " ".join(refused(text))
    assert SECRET not in said
    assert "77777777" not in said


def test_files_that_are_no_configuration_are_refused_quickly(tmp_path: Path) -> None:
    bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 10)}]\n" for i in range(9)
    )
    for text, word in (
        (bomb, "aliases"),
        ("a: &a [*a]", "nested"),
        ("[" * 5_000, "nested"),
        ("a: " + "[" * 60 + "]" * 60, "nested"),
        ("", "expected a mapping"),
        ("- a", "expected a mapping"),
        ("a: 1\n---\nb: 2", "another document"),
        ("where: a\nwhere: b", "twice"),
        ("? [a]\n: b", "a key that is no text"),
        ("where: !!python/name:os.system", "tag"),
        ("where: !!binary aGk=", "tag"),
        ("size: !!int x", "correct the value"),
        ("size: " + "9" * 5_000, "correct the value"),
        ("size: 1e999", "finite"),
        ("\x01", "characters"),
        ("a: b: c", "test.yaml:1:5: "),
        ("x" * ((1 << 20) + 1), "larger than 1 MiB"),
    ):
        assert word in refused(text)[0]
    path = tmp_path / "c.yaml"
    for data, word in ((b"a: \xff", "byte 3 is not UTF-8"), (b" " * ((1 << 20) + 1), "1 MiB")):
        path.write_bytes(data)
        with pytest.raises(ConfigError, match=word):
            load(path, Outer)
    for missing in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ConfigError, match="check the path"):
            load(missing, Outer)
