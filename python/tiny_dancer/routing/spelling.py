"""The words that an artifact of routes knows: what unknown ones are read as (the engine's ``spelling.rs``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from tiny_dancer import _core

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

MOST_WORDS = 6000
"""Of an artifact, the most frequent; six bytes each."""
_LETTERS = "abcdefghijklmnopqrstuvwxyz'"
_MOST_LETTERS = 64
_RAREST_LETTER = 1e-3
_LEVELS_PER_NAT = 8
_RAREST = 255
_CHAT = (
    "afaik aka asap atm brb bruh btw cya dunno faq fomo fwiw fyi haha hahaha hmm icymi idc idk "
    "iirc ikr imho imo irl jfyi kinda lmao lmk lol meh nah nope nvm omg omw ooo pls plz rip rofl "
    "sec smh tba tbd tbh thks thnx thx til tldr tmi tmrw tnx tysm tyvm ugh umm wdym wip wtf wth "
    "xoxo yay yeah yep yolo yup"
)
"""What people write in chats on purpose, an edit away from other words."""


@dataclass(frozen=True, slots=True)
class Words:
    """Words, as an artifact holds them.

    Attributes:
        letters: that are tried in place of others.
        hashes: u8 [n, 5], 40 bits a word; no word is told by its hash.
        levels: u8 [n], −8 ln of the share of texts that have the word.
    """

    letters: str
    hashes: npt.NDArray[np.uint8]
    levels: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, texts: Sequence[str]) -> Self:
        """The most frequent words of texts, and what is written in chats on purpose."""
        raw, counts, written = _core.count_words(list(texts))
        chat = np.frombuffer(_core.count_words([_CHAT])[0], np.uint8).reshape(-1, 5)
        hashes, count = np.frombuffer(raw, np.uint8).reshape(-1, 5), np.array(counts, np.int64)
        kept = np.sort(np.argsort(-count, kind="stable")[: MOST_WORDS - len(chat)])
        share = count[kept] / max(len(texts), 1)
        levels = np.clip(np.rint(-_LEVELS_PER_NAT * np.log(share)), 0, 255).astype(np.uint8)
        total = sum(number for _, number in written)
        others = sorted(
            (letter for letter, number in written if letter not in _LETTERS and number > total * _RAREST_LETTER),
            key=dict(written).__getitem__,
            reverse=True,
        )
        letters = _LETTERS + "".join(others)[: _MOST_LETTERS - len(_LETTERS)]
        # A word that is there twice is there at the lower of its levels.
        rarest = np.full(len(chat), _RAREST, np.uint8)
        return cls(letters, np.concatenate([hashes[kept], chat]), np.concatenate([levels, rarest]))

    def with_those_of(self, header: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]]) -> Words:
        """These and those of an artifact, each at the lower of its levels."""
        if header.get("spelling") is None:
            return self
        hashes = np.concatenate([self.hashes, tensors["spelling.words"]])
        levels = np.concatenate([self.levels, tensors["spelling.levels"]])
        order = np.argsort(levels, kind="stable")
        _, first = np.unique(hashes[order], axis=0, return_index=True)
        kept = order[np.sort(first)[:MOST_WORDS]]
        letters = "".join(dict.fromkeys(self.letters + header["spelling"]["letters"]))[:_MOST_LETTERS]
        return Words(letters, hashes[kept], levels[kept])

    def header(self) -> dict[str, Any]:
        """What an artifact's header says of them."""
        return {"letters": self.letters}

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """By the engine's names."""
        return {"spelling.words": self.hashes, "spelling.levels": self.levels}

    def speller(self, pairs: npt.NDArray[np.uint8] | None = None) -> _core.Speller:
        """What reads texts by these words and those of the shipped encoder; ``pairs``: a bit for every word n-gram
        that a head has weights for."""
        given = b"" if pairs is None else pairs.tobytes()
        return _core.Speller(
            self.letters, self.hashes.tobytes(), self.levels.tobytes(), _core.sentence_encoder(), given
        )
