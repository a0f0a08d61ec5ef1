"""Shape of a text → its plain form (the engine's ``shape.rs`` and the files beneath it).

Every pass looks at the characters of the normal form and their tokens, and names what is cut and what stands in
its place; the passes run in one order, and again until nothing changes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .shape_words import SHAPES
from .text import NUMBER, SYMBOL, WORD, Token, tokenise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MOST_ROUNDS = 6
BULLET = "•"
LETTERS = "abcdefghij"


@dataclass(frozen=True)
class Cut:
    """Characters ``start`` to ``end``, and what stands in their place."""

    start: int
    end: int
    put: str


class View:
    """A text: its characters, its tokens, and what is asked about them."""

    def __init__(self, characters: str) -> None:
        self.characters = characters
        self.tokens = tokenise(characters)

    def __len__(self) -> int:
        return len(self.tokens)

    def text(self, token: int) -> str:
        """Characters of a token; nothing beyond the last."""
        return self.tokens[token].text if 0 <= token < len(self.tokens) else ""

    def is_symbol(self, token: int, wanted: str) -> bool:
        """Whether there is such a token, and it is one of these symbols."""
        text = self.text(token)
        return bool(text) and self.tokens[token].kind == SYMBOL and text in wanted

    def is_word(self, token: int) -> bool:
        """Whether a token is a word."""
        return 0 <= token < len(self) and self.tokens[token].kind == WORD

    def listed(self, token: int, *names: str) -> bool:
        """Whether a token is a word on one of these lists."""
        return self.is_word(token) and on(self.text(token), *names)

    def before(self, at: int) -> str:
        """The character before a place, or a space."""
        return self.characters[at - 1] if at > 0 else " "

    def at(self, at: int) -> str:
        """The character at a place, or a space."""
        return self.characters[at] if at < len(self.characters) else " "

    def ends_sentence(self, token: int) -> bool:
        """One of ``.?!:`` before a space or the end, and not behind an option's letter."""
        return (
            self.is_symbol(token, ".?!:。？！")
            and (self.at(self.tokens[token].end) == " " or not self.text(token).isascii())
            and not (token > 0 and self.marks_option(token - 1))
        )

    def marks_option(self, token: int) -> bool:
        """Whether a token is the letter of an option, and the next one its mark."""
        found = self.tokens[token]
        return (
            len(found.text) == 1
            and found.text in LETTERS
            and self.before(found.start) in " ("
            and self.is_symbol(token + 1, ".):")
            and self.tokens[token + 1].start == found.end
        )

    def spoken(self, start: int, end: int) -> int:
        """Words and numbers among these tokens."""
        return sum(token.kind != SYMBOL for token in self.tokens[start:end])


def on(word: str, *names: str) -> bool:
    """Whether a word is on one of these lists; lists know no digits but 0."""
    return any(word in SHAPES[name] for name in names)


def make_plain(characters: str) -> str:
    """The plain form of a normal form."""
    for _ in range(MOST_ROUNDS):
        changed = one_round(characters)
        if changed == characters:
            break
        characters = changed
    return characters


def one_round(characters: str) -> str:
    """All passes once."""
    if characters[:1] in ("{", "["):
        characters = read_json(characters) or characters
    decorated, labelled, marked = signs(View(characters))
    passes: list[Callable[[View], Iterable[Cut]]] = []
    passes += [tags, decoration] if decorated else []
    passes += [repeats]
    passes += [dialogue] if labelled else []
    passes += [closing_answer, preamble]
    passes += [choices] if marked else []
    for find in passes:
        characters = applied(characters, list(find(View(characters))))
    return characters


def signs(view: View) -> tuple[bool, bool, bool]:
    """Whether a text may hold decoration, labels, markers: by the symbols in it."""
    decorated = labelled = marked = False
    for token in view.tokens:
        if token.kind != SYMBOL:
            continue
        decorated = decorated or token.text in "*_`#>~=-"
        labelled = labelled or token.text == ":"
        before = view.before(token.start)
        lone = token.text == "." and (before in "0123456789" or view.before(max(token.start - 1, 0)) == " ")
        marked = marked or lone or token.text not in "_`#~=.?!,'\"$%"
    return decorated, labelled, marked


def applied(characters: str, cuts: list[Cut]) -> str:
    """The text with its cuts made; as it was where nothing would be left."""
    pieces, at = Pieces(), 0
    for cut in cuts:
        pieces.add(characters[at : cut.start])
        pieces.add(cut.put)
        at = cut.end
    pieces.add(characters[at:])
    return pieces.text() or characters


class Pieces:
    """Characters that are joined: no space at the start, no two in a row where pieces meet."""

    def __init__(self) -> None:
        self.written = ""

    def add(self, piece: str) -> None:
        """Appends."""
        if piece[:1] == " " and self.written[-1:] in ("", " "):
            piece = piece[1:]
        self.written += piece

    def text(self) -> str:
        """All of it, without spaces at the end."""
        return self.written.rstrip(" ")


# ------------------------------------------------------------------------------------------------ wrappers

DEEPEST = 32
LONGEST_TAG, MOST_TAGS = 80, 256
LEAST_ASKED = 2
LITERALS = ("true", "false", "null", "none")


def read_json(characters: str) -> str | None:
    """What a question wrapped in JSON (or Python's way to write it) says; None where the text is anything else.

    A wrapper asks something under a key that says so, holds nothing but values under such keys, lists of options
    and messages, and nothing follows it. A key that is none of a wrapper's stays, with its value.
    """
    pieces, at, asked = Pieces(), 0, False
    holders: list[str] = []
    if characters.lstrip("[ ")[:1] != "{":
        return None
    key = Key()
    while at < len(characters):
        inside = holders[min(len(holders), DEEPEST) - 1] if holders else "list"
        found = characters[at]
        if found in " ,:":
            at += 1
        elif found in "{[":
            if holders and not key.known and inside == "object":
                return None
            holders.append("object" if found == "{" else "options" if key.options else "list")
            at += 1
        elif found in "}]":
            if not holders:
                return None
            holders.pop()
            key = Key()
            at += 1
            if not holders and characters[at:].strip(" "):
                return None
        elif found in "\"'":
            end = string_end(characters, at + 1, found)
            content = characters[at + 1 : end]
            at = min(end + 1, len(characters))
            if characters[at:].lstrip(" ")[:1] == ":" and inside == "object":
                key = Key.of(content)
                if key.marker:
                    pieces.add(f" {key.marker}. ")
                elif not key.known:
                    pieces.add(" ")
                    pieces.add(content)
                    pieces.add(": ")
                continue
            dropped = key.mute or (key.says and on(content, "plain"))
            if inside == "object":
                asked |= key.asks and content.count(" ") >= LEAST_ASKED
            if dropped and inside == "object":
                continue
            pieces.add(f" {BULLET} " if inside != "object" else " ")
            unescape(content, pieces)
        elif found in "0123456789-":
            start = at
            while at < len(characters) and characters[at] in "0123456789-+.e":
                at += 1
            if key.mute and inside == "object":
                continue
            pieces.add(f" {BULLET} " if inside == "options" else " ")
            pieces.add(characters[start:at])
        else:
            literal = next((word for word in LITERALS if characters.startswith(word, at)), None)
            if literal is None:
                return None
            pieces.add(" ")
            pieces.add(literal)
            at += len(literal)
    return pieces.text() if asked else None


def string_end(characters: str, start: int, quote: str) -> int:
    """The next quote that is not escaped and stands before what may follow a string; else the end."""
    at = start
    while at < len(characters):
        if characters[at] == "\\":
            at += 1
        elif characters[at] == quote:
            following = at + 2 if characters[at + 1 : at + 2] == " " else at + 1
            if characters[following : following + 1] in ("", ",", ":", "}", "]"):
                return at
        at += 1
    return len(characters)


@dataclass(frozen=True)
class Key:
    """What a key of JSON says of its value: that it asks, is options, says nothing, or says whose the text is."""

    known: bool = True
    asks: bool = False
    options: bool = False
    mute: bool = False
    says: bool = False
    marker: str = ""

    @classmethod
    def of(cls, key: str) -> Key:
        """Of these characters."""
        parts = key.replace(" ", "_").replace("-", "_").split("_")
        named = len(parts) == 1 or on(parts[0], "option")
        digit = len(parts[-1]) == 1 and parts[-1] in "123456789"
        marker = parts[-1] if named and (parts[-1] in (*LETTERS, "10") or digit) else ""
        options = any(on(part, "choices") for part in parts)
        return cls(
            known=bool(marker)
            or (
                all(on(part, "key", "choices", "kind") for part in parts)
                and any(on(part, "key", "choices") for part in parts)
            ),
            asks=any(on(part, "asks") or part in ("content", "text") for part in parts),
            options=options,
            mute=on(key, "mute"),
            says=key in ("role", "type"),
            marker=marker,
        )


def unescape(content: str, pieces: Pieces) -> None:
    """What a string of JSON says; its characters are lower case already."""
    at = 0
    while at < len(content):
        found, at = content[at], at + 1
        if found != "\\" or at == len(content):
            pieces.add(found)
            continue
        escaped, at = content[at], at + 1
        if escaped in "ntrbf":
            pieces.add(" ")
        elif escaped == "u" and len(content) >= at + 4:
            digits = content[at : at + 4]
            code = int(digits, 16) if all(digit in "0123456789abcdef" for digit in digits) else None
            if code is None or 0xD800 <= code < 0xE000:
                pieces.add("\\u")
                continue
            at += 4
            character = chr(code)
            if character.isspace() or code < 32 or 127 <= code < 160:
                pieces.add(" ")
            else:
                for lower in character.lower():
                    pieces.add(lower)
        else:
            pieces.add(escaped)


@dataclass(frozen=True)
class Tag:
    """``<name …>`` or ``</name>``."""

    name: str
    closes: bool
    end: int


def tag_at(characters: str, start: int) -> Tag | None:
    """The tag that starts here."""
    closes = characters[start + 1 : start + 2] == "/"
    first = start + 1 + closes
    most = min(len(characters), start + LONGEST_TAG)
    last = next((at for at in range(first, most) if not is_name(characters[at])), None)
    if last is None or last == first or not (is_letter(characters[first]) or characters[first] == "|"):
        return None
    if characters[last] not in "> /":
        return None
    end = next((at for at in range(last, most) if characters[at] in "<>"), None)
    if end is None or characters[end] == "<":
        return None
    return Tag(characters[first:last], closes, end + 1)


def is_letter(character: str) -> bool:
    """As Rust's ``is_alphabetic``."""
    from .alphabetic import is_alphabetic

    return is_alphabetic(character)


def is_name(character: str) -> bool:
    """A character of a tag's name."""
    return is_alphanumeric(character) or character in "_-|"


def is_alphanumeric(character: str) -> bool:
    """As Rust's ``is_alphanumeric``: a letter, or a number of any kind (categories Nd, Nl, No)."""
    import unicodedata

    return is_letter(character) or unicodedata.category(character) in ("Nd", "Nl", "No")


def is_bare(view: View, start: int, tag: Tag) -> bool:
    """Whether a tag follows no word and has no attributes, unless the text starts with it."""
    length = len(tag.name) + 2 + tag.closes
    return start == 0 or (tag.end - start == length and (tag.closes or not is_alphanumeric(view.before(start))))


def tags(view: View) -> list[Cut]:
    """Tags with names of wrappers that are closed later, and of their parts; a harness's with what is in them."""
    characters = view.characters
    harness = harness_block(view)
    if harness:
        return harness
    template = characters.startswith("<|")
    strong = options = False
    found: list[tuple[int, Tag, bool]] = []
    after = 0
    for token in range(len(view)):
        start = view.tokens[token].start
        if start < after or not view.is_symbol(token, "<"):
            continue
        tag = tag_at(characters, start)
        if tag is None or not is_bare(view, start, tag):
            continue
        wraps = all(on(part, "tag", "inner") for part in tag.name.replace("-", "_").split("_")) and any(
            on(part, "tag") for part in tag.name.replace("-", "_").split("_")
        )
        if len(found) == MOST_TAGS:
            break
        # A closing tag closes one that was found, an opening one is closed later.
        opened = any(before.name == tag.name and is_wrap and not before.closes for _, before, is_wrap in found)
        wraps = wraps and (opened if tag.closes else f"</{tag.name}" in characters[tag.end :])
        strong |= wraps
        options |= wraps and on(tag.name, "choices")
        found.append((start, tag, wraps))
        after = tag.end
    cuts = []
    for start, tag, wraps in found:
        lettered = options and (tag.name == "li" or (len(tag.name) == 1 and tag.name in LETTERS))
        if not (wraps or (template and tag.name[0] == "|") or (strong and on(tag.name, "inner")) or lettered):
            continue
        put = " "
        if not tag.closes:
            if len(tag.name) == 1 and tag.name in LETTERS:
                put = f" {tag.name}. "
            elif tag.name == "li" or on(tag.name, "option"):
                put = f" {BULLET} "
        cuts.append(Cut(start, tag.end, put))
    return cuts


def harness_block(view: View) -> list[Cut]:
    """What a harness put at the start or the end of the text and says nothing of what is asked, where words are
    left."""
    characters = view.characters
    for name in sorted(SHAPES["noise"]):
        opened, closed = f"<{name}>", f"</{name}>"
        if characters.startswith(opened):
            end = characters.find(closed)
            if end >= 0 and characters[end + len(closed) :].strip(" "):
                return [Cut(0, end + len(closed), " ")]
        if characters.endswith(closed):
            start = characters.rfind(opened)
            if start > 0 and characters[:start].strip(" "):
                return [Cut(start, len(characters), " ")]
    return []


# ---------------------------------------------------------------------------------------------- decoration


def decoration(view: View) -> list[Cut]:
    """Headers, emphasis, fences, inline code, quotes and rules of Markdown."""
    characters, tokens = view.characters, view.tokens
    quoted = view.is_symbol(0, ">") and view.at(1) == " "
    bulleted = view.is_symbol(0, "-*•") and view.at(1) == " "
    cuts: list[Cut] = []
    opened: dict[str, tuple[int, int]] = {}  # mark → length of its run, place of its cut
    token = 0
    while token < len(tokens):
        start = tokens[token].start
        mark = characters[start]
        if view.is_word(token) or mark not in "*_`#>~-=•":
            token += 1
            continue
        length = len(characters[start:]) - len(characters[start:].lstrip(mark))
        end = start + length
        token += length
        free = view.before(start) == " " and view.at(end) == " "
        if mark in "`~" and length >= 3:
            language = end
            while language < len(characters) and is_alphanumeric(characters[language]):
                language += 1
            if not on(characters[end:language], "form") or view.at(language) != " ":
                language = end
            cuts.append(Cut(start, language, " "))
            while token < len(tokens) and tokens[token].start < language:
                token += 1
        elif mark == "#" and length <= 6 and free and heads(view, token, length):
            named = view.listed(token, "asks", "answers", "choices") and len(view.text(token)) > 1
            last = token + (named and token + 1 < len(tokens) and tokens[token + 1].kind == NUMBER)
            if named and not view.is_symbol(last + 1, ":"):
                end = tokens[last].end
            cuts.append(Cut(start, end, " "))
        elif (
            (mark == ">" and quoted and length == 1 and free and continues(view, token))
            or (mark in "-*•" and start == 0 and bulleted and not is_number(view, token))
            or (mark in "-=*~" and length >= 3 and free and rules(view, token, length))
        ):
            cuts.append(Cut(start, end, " "))
        elif mark == "`" or (mark == "*" and length <= 3) or (mark == "_" and length <= 2):
            opens = not is_alphanumeric(view.before(start)) and view.at(end) != " " and view.before(start) != "\\"
            closes = not is_alphanumeric(view.at(end)) and view.before(start) != " "
            if mark in opened and closes and opened[mark][0] == length:
                if mark == "_" and " " not in characters[cuts[opened[mark][1]].end : start]:  # a name, as __init__
                    place = opened.pop(mark)[1]
                    cuts[place] = replace(cuts[place], end=cuts[place].start)
                    continue
                cuts.append(Cut(start, end, ""))
                del opened[mark]
            elif mark not in opened and opens:
                opened[mark] = (length, len(cuts))
                cuts.append(Cut(start, end, ""))
    for _, place in opened.values():  # never closed: no decoration
        cuts[place] = replace(cuts[place], end=cuts[place].start)
    return [cut for cut in cuts if cut.end > cut.start]


def is_number(view: View, token: int) -> bool:
    """Whether there is such a token, and it is a number."""
    return token < len(view) and view.tokens[token].kind == NUMBER


def ends_before(view: View, token: int) -> bool:
    """Whether a text or a sentence starts with this token, or a rule or header stands before it."""
    ends = view.ends_sentence(token - 1) and view.text(token - 1) != ":" if token > 0 else True
    return ends or view.is_symbol(token - 1, "-=*~#_")


def heads(view: View, token: int, length: int) -> bool:
    """Whether the ``#`` before this token are a header's, and no comment's of code: a text or a sentence ends
    before them, or a label follows."""
    named = view.listed(token, "asks", "answers", "choices") and len(view.text(token)) > 1
    return named or ends_before(view, token - length)


def continues(view: View, token: int) -> bool:
    """Whether the ``>`` before this token goes on quoting: a text, an option or a new sentence starts there."""
    at = token - 1
    label = view.listed(token, "asks", "answers", "choices") and view.is_symbol(token + 1, ":")
    return at == 0 or label or view.ends_sentence(at - 1) or (token < len(view) and view.marks_option(token))


def rules(view: View, token: int, length: int) -> bool:
    """Whether marks before this token are a rule: a sentence ends before it, or a header follows."""
    return ends_before(view, token - length) or view.is_symbol(token, "#")


# ------------------------------------------------------------------------------------------------- repeats

LONGEST_BLOCK, LEAST_SENTENCE = 48, 8
LEAST_WORDS, LEAST_BLOCKS, LEAST_EQUATIONS = 8, 4, 8
OPERATORS = "+-*/×÷−"
DRAWN = "_.…–—"


def holds(tokens: list[Token]) -> bool:
    """Whether five tokens are an equation that holds: whole numbers below 10⁹, ``+``, ``-`` or ``*``."""
    if len(tokens) < 5 or not all(tokens[at].kind == NUMBER and tokens[at].text.isdecimal() for at in (0, 2, 4)):
        return False
    if tokens[1].text not in OPERATORS or tokens[3].text != "=":
        return False
    first, second, result = (int(tokens[at].text) if len(tokens[at].text) < 10 else -1 for at in (0, 2, 4))
    if min(first, second, result) < 0:
        return False
    if tokens[1].text == "+":
        return first + second == result
    if tokens[1].text in "-−":
        return first - second == result
    return tokens[1].text in "*×" and first * second == result


def equations(tokens: list[Token], at: int) -> int:
    """How many tokens equations that hold take from here on, commas and semicolons between them included; 0 where
    there are fewer than :data:`LEAST_EQUATIONS`."""
    place, count = at, 0
    while holds(tokens[place : place + 5]):
        count += 1
        place += 5
        if place < len(tokens) and tokens[place].text in ",;" and holds(tokens[place + 1 : place + 6]):
            place += 1
    return place - at if count >= LEAST_EQUATIONS else 0


def filler(view: View, block: int, first: int, end: int, period: int) -> tuple[int, int] | None:
    """All of what is said so often, from ``block`` on and again from ``first`` to ``end``, where it says nothing.

    It stands at the start or the end of the text; the rest holds none of its words and does not point at it. It
    may have begun within the block, and stop within it.
    """
    start, stop = block, end
    while block - start < min(period, block) and view.text(start - 1) == view.text(start - 1 + first - block):
        start -= 1
    while stop < min(len(view), end + period) and view.text(stop) == view.text(stop - period):
        stop += 1
    rest = range(stop, len(view)) if start == 0 else range(start) if stop == len(view) else range(0)
    if view.spoken(rest.start, rest.stop) < LEAST_REST:
        return None
    words = {view.text(token) for token in range(block, first) if view.is_word(token)}
    if any(view.listed(token, "points") or view.text(token) in words for token in rest):
        return None
    return start, stop


def repeats(view: View) -> list[Cut]:
    """Blocks that repeat themselves at once, and sentences that were said before.

    The engine finds a token's last place and a sentence in tables of 1,024 slots, by the highest ten bits of a
    hash; a later one in the same slot takes its place.
    """
    from .text import hash_characters

    tokens = view.tokens
    cuts: list[Cut] = []
    last: dict[int, int] = {}
    said: dict[int, int] = {}
    at = sentence = hashed = spoken = 0
    numbers = filled = False
    in_options = False
    mask = (1 << 64) - 1
    counts = any(
        view.listed(token, "counts") or starts_with(view, token, ("many", "times")) for token in range(len(view))
    )

    def push(first: int, end: int) -> None:
        start = 0 if first == 0 else tokens[first - 1].end
        while cuts and cuts[-1].start >= start:
            cuts.pop()
        cuts.append(Cut(max(start, cuts[-1].end) if cuts else start, tokens[end - 1].end, ""))

    while at < len(tokens):
        token = tokens[at]
        identity = hash_characters(token.identity)
        seen = last.get(identity >> 54)
        last[identity >> 54] = at
        found = None if seen is None else run(view, seen, at)
        # Of a sentence to parse or words to count, each one counts.
        if found and seen is not None and counts and at - seen <= 2 and view.is_word(seen):
            found = None
        said_so = equations(tokens, at) if not found and token.kind == NUMBER else 0
        if said_so:
            found = at + 5, at + said_so
        if found:
            first, end = found
            block = seen if not said_so and seen is not None else at
            spoken_of = any(view.is_word(token) for token in range(block, first))
            spoken_of = any(view.is_word(token) for token in range(block, first))
            often = said_so or (spoken_of and (end - first) // (first - block) + 1 >= LEAST_WORDS)
            # One, so that something is left.
            often = often and not filled
            whole = filler(view, block, first, end, 0 if said_so else first - block) if often else None
            filled = filled or whole is not None
            first, end = whole or (first, end)
            push(first, end)
            at = end
            continue
        exact = 0
        if token.kind == NUMBER:
            exact = 1
            for character in token.text:
                exact = (exact * 31 + ord(character)) & mask
        rotated = (hashed << 7 | hashed >> 57) & mask
        hashed = (rotated ^ identity ^ exact) * 0x9E37_79B9_7F4A_7C15 & mask
        in_options |= token.text[0] == "a" and view.marks_option(at)
        spoken += token.kind != SYMBOL and token.length > 1
        numbers |= token.kind == NUMBER
        ends = view.ends_sentence(at) and token.text != ":"
        at += 1
        if not ends:
            continue
        if spoken >= LEAST_SENTENCE and not numbers and not in_options:
            if said.get(hashed >> 54) == hashed:
                push(sentence, at)
            else:
                said[hashed >> 54] = hashed
        sentence, hashed, spoken, numbers = at, 0, 0, False
    return cuts


def run(view: View, before: int, at: int) -> tuple[int, int] | None:
    """First and one past the last token that say the block from ``before`` to ``at`` again; it stays once. Numbers
    and letters are data, and so are marks other than those that rules and ellipses are drawn with."""
    tokens, block = view.tokens, at - before
    if block > LONGEST_BLOCK:
        return None
    end = at
    while end < len(tokens) and tokens[end].text == tokens[end - block].text:
        end += 1
    copies = (end - at) // block + 1
    if all(token.kind == SYMBOL for token in tokens[before:at]):
        drawn = all(token.text in DRAWN for token in tokens[before:at])
        kept = int(block == 1)
        last = at + (copies - 1) * block - kept
        return (at, last) if drawn and copies > 2 and last > at else None
    if copies < (LEAST_WORDS if block <= 2 else LEAST_BLOCKS):
        return None
    if not any(token.kind == WORD and token.length > 1 for token in tokens[before:at]):
        return None
    return at, at + (copies - 1) * block


# ------------------------------------------------------------------------------------------------ dialogue

MOST_LABELS, FAR, LETTER_ANSWERS, MORE, LEAST_ASKING = 256, 64, 2, 4, 3
SHORT_ANSWER, LEAST_LANGUAGE, LEAST_WHOLE, LEAST_TURN, LEAST_NAME, RESULT = 6, 3, 20, 6, 4, 4
FOLLOW_WORDS = 12


@dataclass(frozen=True)
class Label:
    """A word with a colon; ``first`` is its first token, ``content`` the first of what it labels."""

    role: str
    word: str
    first: int
    content: int
    starts: bool


def read_labels(view: View) -> list[Label]:
    """All labels."""
    labels: list[Label] = []
    any_question, after = False, 0
    for token in range(len(view)):
        if not view.is_word(token) or token < after:
            continue
        asks, answers = view.listed(token, "asks"), view.listed(token, "answers")
        following = view.tokens[token + 1] if token + 1 < len(view) else None
        numbered = (
            asks
            and following is not None
            and (
                (following.kind == NUMBER and following.length <= 3)
                or (following.kind == WORD and following.length == 1)
            )
        )
        colon = token + 1 + (numbered or (answers and view.listed(token + 1, "is")))
        number_ends = numbered and view.tokens[token + 1].kind == NUMBER and view.is_symbol(colon, ".)")
        if not view.is_symbol(colon, ":") and not number_ends:
            continue
        lone = view.tokens[token].length == 1
        if view.at(view.tokens[colon].end) != " " and not lone and not (asks or answers):
            continue
        first = token
        while (asks or answers) and first > after and view.listed(first - 1, "kind"):
            first -= 1
        is_answer = answers and (not lone or (any_question and not next_option(view, colon + 1)))
        prose = first > 0 and view.listed(first - 1, "prose")
        role = "any" if prose else "asks" if asks else "answers" if is_answer else "any"
        any_question |= role == "asks"
        starts = (
            first == 0 or view.tokens[first - 1].kind == SYMBOL or (bool(labels) and labels[-1].content == first)
        )
        labels.append(Label(role, view.text(token), first, colon + 1, starts))
        labels = labels[-MOST_LABELS:]
        after = colon + 1
    return labels


def next_option(view: View, start: int) -> bool:
    """Whether the next label of one letter is ``b:``."""
    for token in range(start, min(len(view), start + FAR)):
        if view.is_word(token) and view.tokens[token].length == 1 and view.is_symbol(token + 1, ":"):
            return view.text(token) == "b"
    return False


def follows(view: View, start: int, end: int) -> bool:
    """Whether these tokens say only that what is under way should go on."""
    tokens = view.tokens[start:end]
    words = [token.text for token in tokens if token.kind == WORD]
    listed = len(words) <= FOLLOW_WORDS and all(on(word, "follow") for word in words)
    return all(token.kind != NUMBER for token in tokens) and (len(words) <= 1 or listed)


def dialogue(view: View) -> list[Cut]:
    """What comes before the last question, and the labels in front of what is asked."""
    labels = read_labels(view)
    if not labels:
        return []
    total, last = len(view), len(labels) - 1

    def content(index: int) -> tuple[int, int]:
        end = labels[index + 1].first if index < last else total
        return labels[index].content, max(end, labels[index].content)

    def filled(index: int) -> bool:
        start, end = content(index)
        reasons = end == total and end - start <= 10 and start < end and view.text(start) in ("let", "let's")
        return view.spoken(start, end) > 0 and not reasons

    colon = view.tokens[labels[last].content - 1].start
    named = colon >= 2 and view.characters[colon - 2] != " "
    closing = labels[last].word if named and view.spoken(*content(last)) == 0 else None
    generic = closing is not None and sum(label.word == closing for label in labels) > 1

    def answers(index: int) -> bool:
        return labels[index].role == "answers" or labels[index].word == closing

    def asking(index: int) -> bool:
        asks = labels[index].role == "asks" and labels[index].word != closing
        return asks or (generic and not answers(index))

    cuts: list[Cut] = []
    kept = 0
    shared = shared_labels(labels)
    examples = worked_examples(last, asking, lambda index: answers(index) and filled(index))
    if examples and evident(view, labels, shared, asking, answers, examples):
        answered, first = examples
        if follows(view, *content(first)):  # it stands for what it follows
            first = next((index for index in reversed(range(shared, answered)) if asking(index)), first)
        # Before the first label stands what all examples are about, or the first of them.
        about = labels[shared].first
        task = about > 0 and (shared > 0 or not (labels[0].role == "answers" and asks_itself(view, 0, about)))
        if shared > 0 and labels[0].first == 0:
            cuts.append(Cut(0, view.tokens[labels[0].content - 1].end, " "))
        start = view.tokens[about].start if task else 0
        cuts.append(Cut(start, view.tokens[labels[first].content - 1].end, " "))
        kept = first + 1
    else:
        examples = None
        goes_on = after_letters(view, labels)
        if goes_on is not None:
            cuts.append(Cut(0, view.tokens[goes_on].start, " "))
            kept = next((index for index, label in enumerate(labels) if label.first >= goes_on), last + 1)
    for index in range(kept, last + 1):
        label = labels[index]
        start = view.tokens[label.first].start
        if index == last and examples and closing is not None:
            cuts.append(Cut(start, len(view.characters), " "))
        elif label.role == "asks" and label.starts and (label.first == 0 or examples or on(label.word, "stands")):
            cuts.append(Cut(start, view.tokens[label.content - 1].end, " "))
    return cuts


def shared_labels(labels: list[Label]) -> int:
    """How many labels at the start name what all questions are about: once, and before any question."""
    words = [label.word for label in labels]
    for index, label in enumerate(labels):
        names = label.role == "asks" and label.starts and not on(label.word, "stands", "speaks")
        if not (names and words.count(label.word) == 1):
            return index
    return 0


def asks_itself(view: View, start: int, end: int) -> bool:
    """Whether these tokens ask something by themselves: a question mark, options, or a sentence that begins with a
    word of questions and requests."""
    begins, options = True, 0
    if sum(view.is_word(token) and view.tokens[token].length > 1 for token in range(start, end)) < LEAST_ASKING:
        return False
    for token in range(start, end):
        if view.is_symbol(token, "?？"):
            return True
        options += view.marks_option(token)
        if begins and view.listed(token, "requests"):
            return True
        begins = view.ends_sentence(token)
    return options >= 2


def evident(
    view: View,
    labels: list[Label],
    shared: int,
    asking: Callable[[int], bool],
    answers: Callable[[int], bool],
    examples: tuple[int, int],
) -> bool:
    """Whether worked examples or earlier turns say nothing that the last question needs.

    They begin as it does, with the same label; it asks by itself, and leans on none of them; its label is one of
    questions or turns, or it has options; and nothing around speaks of what comes before.
    """
    _, first = examples
    label = labels[first]
    candidates = (
        index for index in range(shared, first + 1) if asking(index) and not is_heading(view, labels, index)
    )
    begun = next(candidates, None)
    if begun is None or labels[begun].word != label.word:
        return False
    content = range(label.content, len(view))
    options = sum(view.marks_option(token) for token in content)
    if not (on(label.word, "stands", "speaks") or options >= 2):
        return False
    about = range(labels[0].first)
    if any(view.listed(token, "talk") for token in (*about, *content)):
        return False
    end = labels[first + 1].first if first + 1 < len(labels) else len(view)
    return follows(view, label.content, end) or (
        asks_itself(view, label.content, len(view)) and not leans(view, labels, begun, asking, answers, first)
    )


def leans(
    view: View,
    labels: list[Label],
    begun: int,
    asking: Callable[[int], bool],
    answers: Callable[[int], bool],
    first: int,
) -> bool:
    """Whether the question at ``first`` may need what was asked or answered from ``begun`` on.

    Exam questions stand by themselves: options or two sentences, and answers before them that are letters or
    worked sums. Any other leans on what was said if a turn before it asks nothing; if an answer has another form
    than its question; if it is a turn of a few words; if it points at something, or shares a letter of a formula;
    if it names what was named before, unless all answers are short and it is no transcript.
    """
    from .text import hash_characters

    label = labels[first]
    # A closing label is none of its words.
    empty = first < len(labels) - 1 and view.spoken(labels[-1].content, len(view)) == 0
    end = labels[-1].first if empty else len(view)
    question = range(label.content, max(label.content, end))
    # What stands before the first label may be the first question, whose label is off.
    opens = labels[0].role == "answers" and labels[0].first > 0
    begun = 0 if opens else begun

    def content(index: int) -> range:
        return range(labels[index].content, max(labels[index].content, labels[index + 1].first))

    answered = [content(index) for index in range(begun, first) if answers(index) and content(index)]
    options = sum(view.marks_option(token) for token in question)
    numbers = any(view.tokens[token].kind == NUMBER for token in question)
    ends = sum(view.ends_sentence(token) and not view.is_symbol(token, ":") for token in question)
    whole = options >= 2 or ends >= 2 or view.spoken(question.start, question.stop) >= LEAST_WHOLE
    stands = on(label.word, "stands")
    letters = all(
        view.spoken(found.start, found.stop) == 1
        and all(view.tokens[token].kind == SYMBOL or view.tokens[token].length == 1 for token in found)
        for found in answered
    )
    results = all(any(view.tokens[token].kind == NUMBER for token in found[-RESULT:]) for found in answered)
    exam = stands and whole and (letters or (numbers and ends >= 2 and results))
    if exam and label.content - label.first <= 2:
        return False

    def bit(token: int) -> int:
        return hash_characters(view.tokens[token].identity) >> 48

    # The engine keeps one bit of each word said.
    said = {bit(token) for token in range(label.first) if view.is_word(token)}

    def told(token: int) -> bool:
        return view.is_word(token) and bit(token) in said

    formula = any(
        view.tokens[token].length == 1
        and view.text(token) not in "ai"
        and not view.marks_option(token)
        and told(token)
        for token in question
    )
    if exam or formula:
        return formula

    def foreign(tokens: range) -> bool:
        return any(view.is_word(token) and not view.text(token)[0].isascii() for token in tokens)

    def asks(tokens: range) -> bool:
        marked = any(view.is_symbol(token, "?？") for token in tokens)
        return marked or asks_itself(view, tokens.start, tokens.stop)

    brings = any(asking(index) and not asks(content(index)) for index in range(begun, first))
    other = any(other_form(view, found) or (foreign(found) and not foreign(question)) for found in answered)
    brings |= opens and not asks(range(labels[0].first))
    few = not stands and view.spoken(question.start, question.stop) < LEAST_TURN
    if brings or other or few or any(view.listed(token, "leans") for token in question):
        return True
    short = stands and all(len(found) <= SHORT_ANSWER for found in answered)
    return any(
        told(token)
        and view.tokens[token].length >= LEAST_NAME
        and not view.listed(token, "requests", "prose", "manner", "core")
        and (not short or (view.text(token - 1) == "the" and view.text(token + 1) != "of"))
        for token in question
    )


def other_form(view: View, tokens: range) -> bool:
    """Whether an answer asks, is code, or has no common word of English where so many words have one."""
    words = [token for token in tokens if view.is_word(token)]
    if any(view.is_symbol(token, "?？={}<>[]*_;|\\") for token in tokens):
        return True
    return len(words) >= LEAST_LANGUAGE and not any(
        view.listed(token, "prose", "manner", "leans") for token in words
    )


def is_heading(view: View, labels: list[Label], index: int) -> bool:
    """Whether another label follows at once."""
    return index + 1 < len(labels) and labels[index].content == labels[index + 1].first


def worked_examples(
    last: int, asking: Callable[[int], bool], answered: Callable[[int], bool]
) -> tuple[int, int] | None:
    """The last answered label before the last question, and the first question after that; None where there is no
    such pair, or something is answered after the last question."""
    question = next((index for index in range(last, -1, -1) if asking(index)), None)
    if question is None:
        return None
    before = next((index for index in range(question - 1, -1, -1) if answered(index)), None)
    if before is None or any(answered(index) for index in range(question + 1, last + 1)):
        return None
    return before, next(index for index in range(before + 1, question + 1) if asking(index))


def after_letters(view: View, labels: list[Label]) -> int | None:
    """Where the text goes on after the last answer that is an option's letter alone."""

    def letter(label: Label) -> int | None:
        at = label.content
        at += view.is_symbol(at, "([")
        if at >= len(view):
            return None
        lettered = len(view.text(at)) == 1 and view.text(at) in LETTERS + "123456789" and label.role == "answers"
        at += 1
        while view.is_symbol(at, ".)]"):
            at += 1
        return at if lettered else None

    found = [at for at in map(letter, labels) if at is not None]
    empty = labels[-1].role == "answers" and view.spoken(labels[-1].content, len(view)) == 0
    if not found or len(view) - found[-1] <= MORE or not (len(found) >= LETTER_ANSWERS or empty):
        return None
    # Options before the first answer, and after the last: examples of the same kind.
    options = [token for token in range(len(view)) if view.marks_option(token)]
    before, after = sum(at < found[0] for at in options), sum(at >= found[-1] for at in options)
    talked = any(view.listed(token, "talk") for token in range(found[-1], len(view)))
    return found[-1] if before >= 2 and after >= 2 and not talked else None


def closing_answer(view: View) -> list[Cut]:
    """A closing ``Answer:``, ``The answer is``, ``A:`` that nothing follows."""
    end = len(view)
    while end > 0 and view.is_symbol(end - 1, ":("):
        end -= 1
    colon = end < len(view)
    led = end > 1 and view.listed(end - 1, "is")
    end -= led
    if end < 2 or not view.listed(end - 1, "answers"):
        return []
    end -= 1
    answer, letter = view.text(end) == "answer", len(view.text(end)) == 1
    first = end
    while answer and view.text(first - 1) in ("final", "correct", "your", "the"):
        first -= 1
    prose = first > 0 and view.listed(first - 1, "prose")
    # Without a colon it is a label only behind a whole sentence or options.
    bare = answer and first > 0 and (view.ends_sentence(first - 1) or after_option(view, first))
    found = first > 0 and (bare or (colon and (answer or letter or not prose)))
    while colon and answer and first > 1 and view.is_symbol(first - 1, "-*>•"):
        first -= 1
    if found:
        return [Cut(view.tokens[first].start, len(view.characters), " ")]
    return []


# ------------------------------------------------------------------------------------------------ preamble

LEAST_REST, MOST_SENTENCES, LONGEST_SENTENCE, LONGEST_TAIL, LONGEST_PERSONA = 5, 24, 96, 40, 14
LEAST_BOILER, LEAST_LONG = 2, 10
PERSONA_STARTS = (("you", "are"), ("act", "as"), ("you're",))
MULTIPLE_CHOICE = (
    ("the", "following", "are", "multiple", "choice", "questions"),
    ("the", "following", "is", "a", "multiple", "choice", "question"),
    ("the", "following", "are", "multiple", "-", "choice", "questions"),
    ("the", "following", "is", "a", "multiple", "-", "choice", "question"),
)


def is_preamble(view: View, start: int, end: int) -> bool:
    """Whether a sentence says how to answer, who to be, or disclaims, and evidently nothing else.

    Of how to answer all words are on the list of manner, one at least on that of its core, and it is told to who
    answers. Boilerplate may hold
    one word in ten that is on no list, and has two of its own. A disclaimer says that it is one. A persona is a
    noun of helpers, and at most a field. A question, and a sentence with a number, is none of these.
    """
    while start < end and view.is_symbol(start, "([*-—"):
        start += 1
    label = view.listed(start, "notice") and view.is_symbol(start + 1, ":!")
    if label and view.text(start) == "disclaimer":
        return True
    first = start + 2 if label else start
    if any(starts_with(view, first, opening) for opening in MULTIPLE_CHOICE):
        return not any(view.text(token) in ("except", "not") for token in range(first, end))
    if is_persona(view, first, end):
        return True
    words = core = boiler = other = 0
    told = view.listed(first, "core", "tails")
    for token in range(first, end):
        found = view.tokens[token]
        if found.kind == NUMBER or view.is_symbol(token, '?？=<>{}[]|`"“”«»$+/@\\'):
            return False
        if found.kind == SYMBOL:
            continue
        words += 1
        yours = view.listed(token, "yours") and (
            view.text(token + 1) == "your" or view.listed(token - 1, "denies")
        )
        told = told or view.listed(token, "tells")
        if yours or view.listed(token, "core"):
            core += 1
        elif view.listed(token, "manner"):
            pass
        elif view.listed(token, "boiler"):
            boiler += 1
        else:
            other += 1
    if core and told and not other and not boiler:
        return True
    return boiler >= LEAST_BOILER and (other == 0 or (words >= LEAST_LONG and other * 10 <= words))


def starts_with(view: View, token: int, words: tuple[str, ...]) -> bool:
    """Whether these tokens stand here."""
    return tuple(view.text(token + index) for index in range(len(words))) == words


def is_persona(view: View, start: int, end: int) -> bool:
    """ "You are an expert in law.": a noun of helpers, behind it at most a field."""
    if not any(starts_with(view, start, opening) for opening in PERSONA_STARTS) or end - start > LONGEST_PERSONA:
        return False
    nouns = [token for token in range(start, end) if view.listed(token, "persona")]
    if not nouns or any(view.tokens[token].kind == NUMBER for token in range(start, end)):
        return False
    after = nouns[-1] + 1
    if after == len(view) or view.tokens[after].kind == SYMBOL:
        return True
    # "an agent of the king" is somebody.
    return view.text(nouns[-1]) != "agent" and view.text(after) in ("in", "of", "on", "for")


def sentence_end(view: View, start: int) -> int | None:
    """One past the sentence that starts here; None for a question, or where nothing follows."""
    most = min(len(view), start + LONGEST_SENTENCE)
    notice = next((at for at in range(start, min(most, start + 3)) if view.listed(at, "notice")), None)
    skip = start if notice is None else notice + 2
    end = next((at for at in range(min(skip, most), most) if view.ends_sentence(at)), None)
    if end is None or view.text(end) in "?？":
        return None
    end += 1
    while view.is_symbol(end, ")]"):
        end += 1
    return end if end < len(view) else None


def last_sentence(view: View, start: int, end: int) -> int | None:
    """The first token of the last sentence before ``end``, where it is preamble."""
    least, last = max(start, end - LONGEST_SENTENCE), end - 1
    if last < 0 or view.text(last)[0] in "?？":
        return None
    notice = [view.is_symbol(at, ":") and view.listed(at - 1, "notice") for at in range(len(view))]
    ends = (at for at in range(last - 1, least - 1, -1) if view.ends_sentence(at) and not notice[at])
    first = next((at + 1 for at in ends), least)
    if first > start and is_preamble(view, first, end):
        return first
    tail = range(max(first, end - LONGEST_TAIL), last)
    starts = (at for at in tail if view.listed(at, "tails") and after_option(view, at))
    return next((at for at in starts if is_preamble(view, at, end)), None)


def after_option(view: View, token: int) -> bool:
    """Whether an option with words of its own stands before this token."""
    return any(view.marks_option(at) for at in range(max(token - LONGEST_SENTENCE, 0), max(token - 2, 0)))


def preamble(view: View) -> list[Cut]:
    """Sentences at either end that say how to answer, who to be, or disclaim; none where the rest speaks of texts,
    of which such a sentence may be one."""
    total, start = len(view), 0
    for _ in range(MOST_SENTENCES):
        found = sentence_end(view, start)
        if found is None or view.spoken(found, total) < LEAST_REST or not is_preamble(view, start, found):
            break
        start = found
    end = total
    for _ in range(MOST_SENTENCES):
        found = last_sentence(view, start, end)
        if found is None or view.spoken(start, found) < LEAST_REST:
            break
        end = found
    if (start == 0 and end == total) or any(view.listed(token, "refers") for token in range(start, end)):
        return []
    cuts = [Cut(0, view.tokens[start].start, " ")] if start else []
    return cuts + ([Cut(view.tokens[end - 1].end, len(view.characters), " ")] if end < total else [])


# ------------------------------------------------------------------------------------------------- choices

MOST_OPTIONS, MOST_MARKERS = 10, 128
ROMAN = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x")
NUMBERS = tuple(str(number) for number in range(1, 11))
MARKS, KEYCAP = ".):]、。】〕", "\ufe0f\u20e3"
STRONG, WEAK = "•◦▪‣●○■□▫∙·➢→", "-*+–—"
LOOSE = "->/|–—}"  # marks of a letter or number that mean something else in other places
# Options of a list with loose marks, and where no sentence ends before it; characters from a marker to the next.
LEAST_LOOSE, LEAST_AMID, LEAST_OPTION = 3, 4, 3


@dataclass(frozen=True)
class Marker:
    """Characters of a marker, with its bracket and a word before it; ``token`` is its first."""

    kind: str
    rank: int
    start: int
    end: int
    token: int


def opening_of(view: View, start: int) -> int | None:
    """Where a marker may start: at a text, a word, or a bracket that opens."""
    if view.before(start) == " ":
        return start
    bracket = view.before(start) in "([{【〔" and not is_alphanumeric(view.before(start - 1))
    return start - 1 if bracket else None


def lettered(view: View, token: int, kind: str, ranks: tuple[str, ...] | str) -> Marker | None:
    """A letter, number or Roman numeral with its mark."""
    found = view.tokens[token]
    if found.text not in tuple(ranks) or found.kind != (NUMBER if kind == "number" else WORD):
        return None
    end = found.end
    if view.at(end) in MARKS:
        end += 2 if view.at(end + 1) in MARKS else 1
        if kind != "letter" and view.at(end) != " ":
            return None
    elif view.characters[end : end + 2] == KEYCAP:
        end += 2
    else:
        mark = end + (view.at(end) == " ")
        if kind == "roman" or view.at(mark) not in LOOSE or view.at(mark + 1) != " ":
            return None
        kind, end = kind + view.at(mark), mark + 1
    start = opening_of(view, found.start)
    if start is None:
        return None
    first = token - (start < found.start)
    if view.listed(first - 1, "option"):
        word = view.tokens[first - 1].start
        wider = opening_of(view, word)
        if wider is not None:
            start, first = wider, first - 1 - (wider < word)
    rank = tuple(ranks).index(found.text)
    return Marker(kind, rank, start, end, first)


def is_loose(kind: str) -> bool:
    """Whether a kind of marker has a mark that means something else in other places."""
    return len(kind) > 1 and kind[-1] in LOOSE


def bullet(view: View, token: int) -> Marker | None:
    """A bullet between spaces; dashes and the like start a list only where a sentence ends."""
    found = view.tokens[token]
    if found.kind != SYMBOL or found.text not in STRONG + WEAK:
        return None
    if view.before(found.start) != " " or view.at(found.end) != " ":
        return None
    starts = found.text in STRONG or (token > 0 and view.ends_sentence(token - 1))
    return Marker(found.text, int(not starts), found.start, found.end, token)


def is_named(view: View, first: Marker, second: Marker) -> bool:
    """Whether the same word stands before two markers: "Statement 1: … Statement 2: …"."""
    return view.is_word(first.token - 1) and view.text(first.token - 1) == view.text(second.token - 1)


def longest_list(view: View, markers: list[Marker]) -> list[Marker]:
    """The longest list of 2 to 10 options, the last of equals."""
    longest: list[Marker] = []
    for first, marker in enumerate(markers):
        if marker.rank:
            continue
        chain = [marker]
        for following in markers[first + 1 :]:
            if following.kind != marker.kind:
                continue
            if len(marker.kind) == 1 or following.rank == len(chain):
                if len(chain) > MOST_OPTIONS:
                    break
                if is_loose(marker.kind) and following.start < chain[-1].end + LEAST_OPTION:
                    break
                if marker.kind == "number" and len(chain) == 1 and is_named(view, marker, following):
                    break
                chain.append(following)
            elif following.rank == 0 and len(chain) == 1:
                break
        least = 2
        if is_loose(marker.kind):
            starts = marker.token > 0 and view.ends_sentence(marker.token - 1)
            least = LEAST_LOOSE if starts else LEAST_AMID
        if least <= len(chain) <= MOST_OPTIONS and len(chain) >= len(longest):
            longest = chain
    return longest


def before_label(view: View, token: int) -> int:
    """The first token of a label like ``Answer choices:`` that ends before ``token``, or ``token``."""
    at = token
    at -= view.is_symbol(at - 1, ":")
    at -= view.listed(at - 1, "is")
    if at == token or not view.listed(at - 1, "choices"):
        return token
    at -= 1
    while at > 0 and view.listed(at - 1, "kind", "prose") and token - at < 8:
        at -= 1
    return at


def choices(view: View) -> list[Cut]:
    """The markers of options, the label in front of them, what separates them, bullets before other markers."""
    found = []
    for token in range(len(view)):
        each = (
            lettered(view, token, "letter", LETTERS) or lettered(view, token, "number", NUMBERS),
            lettered(view, token, "roman", ROMAN),
            bullet(view, token),
        )
        found += [marker for marker in each if marker]
    markers = found[-MOST_MARKERS:]
    if len(markers) < 2:
        return []
    longest, rank = longest_list(view, markers), 0
    cuts: list[Cut] = []
    for index, marker in enumerate(markers):
        option = longest[rank] if rank < len(longest) else None
        if option is None or (option.start, option.kind) != (marker.start, marker.kind):
            following = markers[index + 1] if index + 1 < len(markers) else None
            decorates = (
                len(marker.kind) == 1
                and following is not None
                and following.start == marker.end + 1
                and len(following.kind) > 1
                and not is_loose(following.kind)
            )
            if decorates and (not cuts or cuts[-1].end <= marker.start):
                cuts.append(Cut(marker.start, marker.end, " "))
            continue
        first = option.token
        if rank == 0:
            first = before_label(view, first)
        elif view.is_symbol(first - 1, ",;|/"):
            first -= 1
        start = option.start if first == option.token else view.tokens[first].start
        start = max(start, cuts[-1].end) if cuts else start
        plain = view.characters[start : option.end] == f"{LETTERS[rank]}."
        if not (plain and view.before(start) == " " and view.at(option.end) == " "):
            cuts.append(Cut(start, option.end, f" {LETTERS[rank]}. "))
        rank += 1
    return cuts
