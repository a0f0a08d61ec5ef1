"""Who pays for a request: whose its key is, and what the request itself says where the key says nothing.

What a key says always holds: no request can be charged to another user or project than its key's, nor be without
its key's tags. What a request says only adds budgets, and never another's: a user, project or tag that some key
carries is charged by the keys that carry it, and by no others. A header of the gateway's own that names such a one
is refused; what is also meant for others (OpenAI's ``user``, ``metadata``) then names nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.storage.values import storable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tiny_dancer.storage import ApiKey

USER, PROJECT, TAGS = b"x-td-user", b"x-td-project", b"x-td-tags"
HEADERS: Final = (USER, PROJECT, TAGS)
LONGEST_NAME: Final = 512
"""Characters of a user, project or tag that a request names."""
MOST_TAGS: Final = 20
"""That a request names."""

_any: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode
# Fields that name a user, the first that does: what OpenAI calls so now, and before.
_USERS: Final = ("safety_identifier", "user")


class Payers(NamedTuple):
    """Who pays for a request; empty where nobody is named.

    Attributes:
        user: who is behind it.
        team: of its key.
        project: what it is for.
        tags: of its key, then its own.
        ensembles: agents that it is asked on behalf of, the outermost first.
    """

    user: str = ""
    team: str = ""
    project: str = ""
    tags: tuple[str, ...] = ()
    ensembles: tuple[str, ...] = ()


NOBODY: Final = Payers()


def payers_of(key: ApiKey) -> Payers:
    """Whose a key is."""
    return Payers(key.user or "", key.team or "", key.project or "", tuple(dict.fromkeys(key.tags)))


class Owned:
    """What keys carry, which no request can name whose key does not.

    Attributes:
        users: of all keys, ended ones too: a key that is replaced leaves its user to nobody.
        projects: likewise.
        tags: likewise.
    """

    __slots__ = ("projects", "tags", "users")

    def __init__(self, keys: Iterable[ApiKey] = ()) -> None:
        known = list(keys)
        self.users = frozenset(key.user for key in known if key.user)
        self.projects = frozenset(key.project for key in known if key.project)
        self.tags = frozenset(tag for key in known for tag in key.tags)

    def by_headers(self, payers: Payers, headers: Mapping[bytes, bytes]) -> Payers:
        """Who pays where the gateway's own headers name somebody.

        Args:
            payers: whose the request's key is.
            headers: of the request.

        Raises:
            GatewayError: 400, a name is too long or there are too many tags; 403, the name is another key's, or
                the request's key has another.
        """
        if headers.keys().isdisjoint(HEADERS):
            return payers
        user, project = _of_header(headers, USER), _of_header(headers, PROJECT)
        listed = header_text(headers.get(TAGS, b"")).split(",")
        tags = _tags([tag for each in listed if (tag := each.strip())], TAGS.decode())
        for header, name, own, owned in (
            (USER, user, payers.user, self.users),
            (PROJECT, project, payers.project, self.projects),
        ):
            if name and name != own and (own or name in owned):
                raise _not_allowed(header, name)
        for tag in tags:
            if tag in self.tags and tag not in payers.tags:
                raise _not_allowed(TAGS, tag)
        return payers._replace(
            user=payers.user or user,
            project=payers.project or project,
            tags=tuple(dict.fromkeys((*payers.tags, *tags))),
        )

    def by_fields(self, payers: Payers, fields: dict[str, msgspec.Raw]) -> Payers:
        """Who pays where the body names somebody whom neither key nor header does; a name of another key's counts
        for nothing.

        A list of tags in ``metadata`` is for the gateway, as it is for LiteLLM: it does not go on to an upstream.

        Args:
            payers: of the key and the headers.
            fields: of the body, at its top.

        Raises:
            GatewayError: 400, a name is too long or there are too many tags.
        """
        user = ""
        tags: tuple[str, ...] = ()
        for field in _USERS:
            if not user and field in fields:
                user = _name(_read(fields[field]), field)
        if "metadata" in fields and isinstance(said := _read(fields["metadata"]), dict):
            if not user:
                user = _name(said.get("user_id"), "metadata.user_id")  # Anthropic's
            if isinstance(listed := said.get("tags"), list) and all(isinstance(each, str) for each in listed):
                tags = _tags([each for each in listed if each.strip()], "metadata.tags")
                del said["tags"]
                if said:
                    fields["metadata"] = msgspec.Raw(_encode(said))
                else:
                    del fields["metadata"]
        if not user and not tags:
            return payers
        counted = [tag for tag in tags if tag not in self.tags or tag in payers.tags]
        return payers._replace(
            user=payers.user or ("" if user in self.users else user),
            tags=tuple(dict.fromkeys((*payers.tags, *counted))),
        )


def _of_header(headers: Mapping[bytes, bytes], name: bytes) -> str:
    given = headers.get(name)
    return "" if given is None else _name(header_text(given), name.decode())


def header_text(value: bytes) -> str:
    """What a header of the gateway's own says: as bodies are written; headers of old are in Latin-1."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _read(raw: msgspec.Raw) -> Any:
    try:
        return _any(raw)
    except (ValueError, RecursionError):
        return None


def _name(said: object, param: str) -> str:
    """A name as it is kept; empty where it is none. Numbers are names to many clients."""
    if isinstance(said, int) and not isinstance(said, bool):
        said = str(said)
    if not isinstance(said, str):
        return ""
    if len(said) > LONGEST_NAME:
        raise GatewayError(
            400, f"'{param}' has at most {LONGEST_NAME} characters.", param=param, code="invalid_value"
        )
    return storable(said.strip())


def _tags(listed: list[str], param: str) -> tuple[str, ...]:
    if len(listed) > MOST_TAGS:
        raise GatewayError(
            400,
            f"A request has at most {MOST_TAGS} tags, this has {len(listed)}.",
            param=param,
            code="invalid_value",
        )
    return tuple(_name(each, param) for each in listed)


def _not_allowed(header: bytes, name: str) -> GatewayError:
    return GatewayError(
        403,
        f"This request may not be charged to '{name}': its key names another, or other keys carry that name. "
        f"Leave {header.decode()} out, or use a key of '{name}'.",
        param=header.decode(),
        code="payer_not_allowed",
    )
