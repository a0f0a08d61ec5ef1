"""Ids: no two the same, and none to be told from others."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from tiny_dancer.routing.router import new_id


def test_ids_are_random_and_never_given_twice() -> None:
    with ThreadPoolExecutor(8) as pool:
        found = [id for part in pool.map(lambda _: [new_id() for _ in range(2_000)], range(8)) for id in part]
    assert len(set(found)) == len(found)
    assert all(re.fullmatch("[0-9a-f]{32}", id) for id in found)
    # Of neighbours no part is shared: each place takes every digit.
    assert all(len({id[place] for id in found}) == 16 for place in range(32))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_ids_of_its_own() -> None:
    new_id()
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writing, "".join(new_id() for _ in range(100)).encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    of_child = {text[start : start + 32] for start in range(0, len(text), 32)}
    assert len(of_child) == 100
    assert of_child.isdisjoint(new_id() for _ in range(100))
