"""What texts say beneath a disguise: look-alike letters, invisible characters, marks, spacing, punctuation.

Kin, and rows trained on, are told by hashed n-grams of what the engine reads. One Cyrillic ``а`` for a Latin
``a``, a zero-width space or a soft hyphen gives other n-grams, and a copy passes for a new request. So for these
purposes alone texts are brought to a form that is the same for all of them (a skeleton, as in Unicode Technical
Standard 39, of a smaller table), and rows that this changes have the n-grams of that form.
"""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer.routing import featurise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from tiny_dancer.types import FeatureTable, Outcomes

# Letters that look like Latin ones and that no normal form brings together. Case matters: an upper-case Greek nu
# is an N, a lower-case one a v.
_LOOK_ALIKES = {
    "АВЕЗКМНОРСТУХЅІЈԌԚԜѴҮҺӀ": "ABE3KMHOPCTYXSIJGQWVYHI",
    "авеорсухіјѕһԁԛԝѵӏүкмтнгиьб": "abeopcyxijshdqwvlykmthrub6",
    "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹϺ": "ABEZHIKMNOPTYXCM",
    "αβγεηικνορτυχωςσϲϳ": "abyenikvoptuxwcocj",
    "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ": "abcdefghijklmnoprstuvwyz",
    "ᎪᏴᏟᎠᎬᏀᎻᎥᎫᏦᏞᎷᏢᏒᏚᎢᏙᎳᏃ": "ABCDEGHiJKLMPRSTVWZ",
    "ɑɡıȷɩʋøłđħŧØŁĐĦŦǀօսոհցզյ": "agijivoldhtOLDHTlounhgqj",
    "“”„‟«»″‘’‚‛‹›′´‐‑‒–—―−": '"' * 7 + "'" * 8 + "-" * 7,
}
_TABLE: dict[int, str | None] = {
    ord(look): latin for looks, letters in _LOOK_ALIKES.items() for look, latin in zip(looks, letters, strict=True)
}
# Squared and circled white letters on black have no decomposition.
_TABLE |= {start + place: chr(65 + place) for start in (0x1F150, 0x1F170) for place in range(26)}
# Fillers and blanks that are letters or symbols by their category.
_TABLE |= dict.fromkeys((0x115F, 0x1160, 0x3164, 0xFFA0, 0x2800))
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_UNSEEN = re.compile(r"""[\s.,;:!?'"`()\[\]{}_\-、。「」『』【】〈〉《》・·¿¡]+""")
FEWEST_SQUEEZED = 8
FEWEST_REORDERED = 8
_INVISIBLE = frozenset({"Mn", "Me", "Cf", "Cc", "Cs", "Co", "Cn"})


class _Skeleton(dict[int, Any]):
    """A table for ``str.translate`` that learns characters as they come; of decomposed text."""

    def __missing__(self, code: int) -> int | None:
        character = chr(code)
        invisible = unicodedata.category(character) in _INVISIBLE and not character.isspace()
        found = None if invisible else code
        self[code] = found
        return found


_SKELETON = _Skeleton(_TABLE)


def undisguised(text: str) -> str:
    """The text in compatibility-decomposed form without marks and invisible characters, look-alikes as Latin."""
    if text.isascii() and not _CONTROLS.search(text):
        return text
    return unicodedata.normalize("NFKD", text).translate(_SKELETON)


def squeezed(text: str) -> str:
    """Letters, digits and operators of an undisguised text, lower case: no spacing, no punctuation."""
    return _UNSEEN.sub("", undisguised(text).lower())


@dataclass(frozen=True, slots=True)
class Texts:
    """What n requests say.

    Attributes:
        prompts: n texts.
        messages: n JSON texts of chats, or None a row; None where there are none.
        tools: likewise.
    """

    prompts: Sequence[str]
    messages: Sequence[str | None] | None = None
    tools: Sequence[str | None] | None = None

    @classmethod
    def of(cls, outcomes: Outcomes) -> Texts | None:
        """A table's; None where it holds no text."""
        if outcomes.prompt is None and outcomes.messages is None:
            return None
        prompts = ("",) * len(outcomes) if outcomes.prompt is None else outcomes.prompt
        return cls(prompts, outcomes.messages, outcomes.tools)

    def said(self) -> list[str]:
        """What the user says in each row, its turns in lines."""
        if self.messages is None:
            return list(self.prompts)
        return [
            prompt if chat is None else "\n".join(_user_texts(json.loads(chat)))
            for prompt, chat in zip(self.prompts, self.messages, strict=True)
        ]


def kin_features(features: FeatureTable, texts: Texts | None) -> FeatureTable:
    """The features with the n-grams of the undisguised texts, where there are texts."""
    if texts is None:
        return features
    chats = (None,) * len(features) if texts.messages is None else texts.messages
    plain: list[tuple[int, str, str | None]] = []
    for row, (prompt, chat) in enumerate(zip(texts.prompts, chats, strict=True)):
        if chat is None:
            text, bare = undisguised(prompt), None
            changed = text != prompt
        else:
            text, bare = prompt, _bare_chat(chat)
            changed = bare != chat
        if changed and (bare is not None or text.strip()):
            plain.append((row, text, bare))
    if not plain:
        return features
    rows = np.array([row for row, _, _ in plain])
    tools = None if texts.tools is None else [texts.tools[row] for row in rows]
    bares = None if texts.messages is None else [bare for _, _, bare in plain]
    return _with_ngrams(features, rows, featurise([text for _, text, _ in plain], bares, tools, features.spec))


def squeezed_groups(texts: Sequence[str]) -> npt.NDArray[np.int64]:
    """The first row that says the same but for spacing, case and punctuation; very short texts are alone."""
    first: dict[str, int] = {}
    labels = np.arange(len(texts))
    for row, text in enumerate(texts):
        key = squeezed(text)
        if len(key) >= FEWEST_SQUEEZED:
            labels[row] = first.setdefault(key, row)
    return labels


def reordered_groups(texts: Sequence[str]) -> npt.NDArray[np.int64]:
    """The first row of the same words in any order; texts of few words are alone: that may be chance."""
    first: dict[tuple[str, ...], int] = {}
    labels = np.arange(len(texts))
    for row, text in enumerate(texts):
        words = (_UNSEEN.sub("", word) for word in undisguised(text).lower().split())
        key = tuple(sorted(word for word in words if word))
        if len(key) >= FEWEST_REORDERED:
            labels[row] = first.setdefault(key, row)
    return labels


def _with_ngrams(features: FeatureTable, rows: npt.NDArray[np.int64], other: FeatureTable) -> FeatureTable:
    """The features with the n-grams of some rows replaced."""
    sizes = np.diff(features.ngram_offsets)
    sizes[rows] = np.diff(other.ngram_offsets)
    offsets = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
    changed = np.zeros(len(features), np.bool_)
    changed[rows] = True
    ngrams = np.empty(offsets[-1], features.ngrams.dtype)
    new = np.repeat(changed, sizes)
    ngrams[new] = other.ngrams
    ngrams[~new] = features.ngrams[np.repeat(~changed, np.diff(features.ngram_offsets))]
    return replace(features, ngram_offsets=offsets, ngrams=ngrams)


def _bare_chat(chat: str) -> str:
    """JSON of messages whose texts are undisguised; the same string where nothing changes."""
    if chat.isascii() and "\\u" not in chat:
        return chat
    messages = json.loads(chat)
    bare = _texts_mapped(messages, undisguised)
    return chat if bare == messages else json.dumps(bare, ensure_ascii=False)


def _texts_mapped(value: Any, change: Callable[[str], str]) -> Any:
    """A JSON value whose strings are changed; names of fields stay."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_texts_mapped(each, change) for each in value]
    if isinstance(value, dict):
        return {name: _texts_mapped(each, change) for name, each in value.items()}
    return value


def _user_texts(messages: Any) -> Iterator[str]:
    """Texts of the user's messages."""
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict) and message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, str):
                yield content
            for part in content if isinstance(content, list) else ():
                if isinstance(part, dict) and isinstance(part.get("text"), str):
                    yield part["text"]
