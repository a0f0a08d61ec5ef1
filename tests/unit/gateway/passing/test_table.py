"""Which addresses are passed on."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_dancer.gateway.openapi import openapi_document
from tiny_dancer.gateway.passing.table import TABLE, find
from tiny_dancer.observability.conventions import OPERATIONS


@pytest.mark.parametrize("path", TABLE)
def test_each_address_is_found_and_counted_by_its_name(path: str) -> None:
    found = find(path.replace("{id}", "x-1"))
    assert found is not None
    assert found.passed is TABLE[path]
    assert found.path == TABLE[path].path.replace("{id}", "x-1")
    assert TABLE[path].endpoint in OPERATIONS


@given(st.text(max_size=30))
def test_an_id_is_one_part_of_the_upstream_s_address(id: str) -> None:
    found = find(f"/v1/files/{id}/content")
    if found is not None:
        assert found.id == id
        head, name, tail = found.path.rpartition("/files/")[2].partition("/content")[0], found.id, found.path
        assert head not in ("", ".", "..")
        assert name not in ("", ".", "..")
        assert tail.count("/") == 3
        assert tail.isascii()


@pytest.mark.parametrize(
    "path",
    [
        "/v1/files/",
        "/v1/files/..",
        "/v1/files/../content",
        "/v1/files/a/b",
        "/v1/responses",
        "/v1/files/a/b/content",
        "/v1/models/x",
        "/v1/files/{id}",
    ],
)
def test_others_are_not(path: str) -> None:
    assert find(path) is None


def test_the_description_has_every_one_of_them() -> None:
    paths = json.loads(openapi_document())["paths"]
    for path, passed in TABLE.items():
        assert sorted(paths[path]) == sorted(method.lower() for method in passed.methods), path
