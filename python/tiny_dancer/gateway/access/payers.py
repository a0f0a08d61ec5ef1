"""Who pays for a request: whose its key is, and what the request itself says where the key says nothing.

What a key says always holds: no request can be charged to another user or project than its key's, nor be without
its key's tags. What a request says only adds budgets, and never another's: a user, project or tag that some key
carries is charged by the keys that carry it, and by no others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from tiny_dancer.storage import ApiKey


class Payers(NamedTuple):
    """Who pays for a request; empty where nobody is named.

    Attributes:
        user: who is behind it.
        team: of its key.
        project: what it is for.
        tags: of its key, then its own.
    """

    user: str = ""
    team: str = ""
    project: str = ""
    tags: tuple[str, ...] = ()


NOBODY: Final = Payers()


def payers_of(key: ApiKey) -> Payers:
    """Whose a key is."""
    return Payers(key.user or "", key.team or "", key.project or "", key.tags)
