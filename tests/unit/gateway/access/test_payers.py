"""Who pays for a request: what keys say holds, what requests say only adds."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contract.requests import api_key

from tiny_dancer.gateway.access.payers import NOBODY, Owned, Payers, payers_of
from tiny_dancer.gateway.errors import GatewayError

ADA = api_key("1", user="ada", team="research", project="apollo", tags=("eu", "prod", "eu"))
# A key of a service, which says who its users are.
SERVICE = api_key("2", "b", team="web", tags=("web",))
OWNED = Owned([ADA, SERVICE])


def fields(**given_: Any) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(json.dumps(value).encode()) for name, value in given_.items()}


def by_both(key: Payers, headers: dict[bytes, bytes], **body: Any) -> Payers:
    return OWNED.by_fields(OWNED.by_headers(key, headers), fields(**body))


def test_whose_a_key_is() -> None:
    assert payers_of(ADA) == Payers("ada", "research", "apollo", ("eu", "prod"))
    assert payers_of(api_key("3", "c")) == NOBODY


@pytest.mark.parametrize(
    ("headers", "body", "user"),
    [
        ({}, {"user": "bob"}, "bob"),
        ({}, {"user": "bob", "safety_identifier": "carol"}, "carol"),
        ({}, {"metadata": {"user_id": "bob"}}, "bob"),
        ({}, {"user": 17}, "17"),
        ({}, {"user": " bob "}, "bob"),
        ({}, {"user": "b\0b"}, "b\N{REPLACEMENT CHARACTER}b"),
        ({b"x-td-user": "Zoë".encode()}, {"user": "bob"}, "Zoë"),
        ({b"x-td-user": "Zoë".encode("latin-1")}, {}, "Zoë"),
        ({}, {"user": None}, ""),
        ({}, {"user": ["bob"], "metadata": "bob"}, ""),
        ({}, {"user": True, "metadata": [1]}, ""),
        ({}, {"user": "  "}, ""),
        # Another key's: its owner does not pay.
        ({}, {"user": "ada"}, ""),
    ],
)
def test_a_key_without_a_user_names_that_of_each_request(
    headers: dict[bytes, bytes], body: dict[str, Any], user: str
) -> None:
    assert by_both(payers_of(SERVICE), headers, **body) == Payers(user, "web", "", ("web",))


def test_what_a_key_says_holds() -> None:
    mine = payers_of(ADA)
    assert by_both(mine, {}, user="bob", metadata={"user_id": "eve", "tags": ["mine", "prod", "web"]}) == Payers(
        "ada", "research", "apollo", ("eu", "prod", "mine")
    )
    headers = {b"x-td-user": b"ada", b"x-td-project": b"apollo", b"x-td-tags": b" prod, nightly ,,"}
    assert by_both(mine, headers) == Payers("ada", "research", "apollo", ("eu", "prod", "nightly"))


@pytest.mark.parametrize(
    ("key", "header", "value"),
    [
        (ADA, "x-td-user", "bob"),
        (ADA, "x-td-project", "gemini"),
        (ADA, "x-td-tags", "nightly, web"),
        (SERVICE, "x-td-user", "ada"),
        (SERVICE, "x-td-project", "apollo"),
        (None, "x-td-tags", "prod"),
    ],
)
def test_a_header_names_no_one_elses(key: Any, header: str, value: str) -> None:
    payers = NOBODY if key is None else payers_of(key)
    with pytest.raises(GatewayError) as caught:
        OWNED.by_headers(payers, {header.encode(): value.encode()})
    assert (caught.value.status, caught.value.code, caught.value.param) == (403, "payer_not_allowed", header)


@pytest.mark.parametrize(
    ("headers", "body", "param"),
    [
        ({b"x-td-user": b"a" * 513}, {}, "x-td-user"),
        ({b"x-td-tags": b",".join(b"%d" % each for each in range(21))}, {}, "x-td-tags"),
        ({}, {"user": "a" * 513}, "user"),
        ({}, {"metadata": {"tags": ["a" * 513]}}, "metadata.tags"),
        ({}, {"metadata": {"tags": [str(each) for each in range(21)]}}, "metadata.tags"),
    ],
)
def test_names_have_bounds(headers: dict[bytes, bytes], body: dict[str, Any], param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        by_both(NOBODY, headers, **body)
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, "invalid_value", param)


def test_lists_of_tags_do_not_go_on_and_texts_do() -> None:
    body = fields(metadata={"tags": ["a"], "run": "7"}, user="bob")
    assert OWNED.by_fields(NOBODY, body).tags == ("a",)
    kept = {name: json.loads(bytes(raw)) for name, raw in body.items()}
    assert kept == {"metadata": {"run": "7"}, "user": "bob"}
    body = fields(metadata={"tags": ["a", " "]})
    assert OWNED.by_fields(NOBODY, body).tags == ("a",)
    assert body == {}
    # OpenAI's own metadata are texts.
    for said in ({"tags": "a, b"}, {"tags": ["a", 1]}):
        body = fields(metadata=said)
        assert OWNED.by_fields(NOBODY, body) == NOBODY
        assert json.loads(bytes(body["metadata"])) == said


names = st.sampled_from(["ada", "bob", "apollo", "gemini", "eu", "prod", "web", "nightly", "", "ö"])
anything = names | st.none() | st.integers() | st.lists(names, max_size=3) | st.dictionaries(names, names)


@given(
    st.sampled_from([ADA, SERVICE, None]),
    st.fixed_dictionaries(
        {},
        optional={name: names.map(str.encode) for name in (b"x-td-user", b"x-td-project", b"x-td-tags")},
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "user": anything,
            "safety_identifier": anything,
            "metadata": anything | st.fixed_dictionaries({}, optional={"tags": anything, "user_id": anything}),
        },
    ),
)
def test_no_request_escapes_its_keys_payers_nor_spends_anothers(
    key: Any, headers: dict[bytes, bytes], body: dict[str, Any]
) -> None:
    own = NOBODY if key is None else payers_of(key)
    try:
        paying = by_both(own, headers, **body)
    except GatewayError as error:
        assert error.code == "payer_not_allowed"
        return
    assert paying.team == own.team
    assert not own.user or paying.user == own.user
    assert not own.project or paying.project == own.project
    assert set(own.tags) <= set(paying.tags)
    assert paying.user in (own.user, "") or paying.user not in OWNED.users
    assert paying.project in (own.project, "") or paying.project not in OWNED.projects
    assert not (set(paying.tags) - set(own.tags)) & OWNED.tags
