"""Shape of a text → its plain form (the engine's ``shape.rs`` and the files beneath it).

Every pass looks at the characters of the normal form and their tokens, and names what is cut and what stands in
its place; the passes run in one order, and again until nothing changes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .shape_words import BRIEF, OPENINGS, SHAPES, TAILS
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
        marked = marked or lone or token.text not in "_`#>~=.?!,'\"$%/"
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
LONGEST_TAG = 80
LEAST_MUTE = 3
LITERALS = ("true", "false", "null", "none")


def read_json(characters: str) -> str | None:
    """Strings and numbers of JSON, or of Python's way to write it; None where the text is no JSON."""
    pieces, at, values = Pieces(), 0, 0
    holders: list[str] = []
    mute = options = False
    while at < len(characters):
        inside = holders[min(len(holders), DEEPEST) - 1] if holders else "list"
        found = characters[at]
        if found in " ,:":
            at += 1
        elif found in "{[":
            holders.append("object" if found == "{" else "options" if options else "list")
            at += 1
            mute = False
        elif found in "}]":
            if not holders:
                return None
            holders.pop()
            at += 1
            if not holders:
                pieces.add(" ")
                pieces.add(characters[at:])
                return pieces.text() if values else None
        elif found in "\"'":
            end = string_end(characters, at + 1, found)
            content = characters[at + 1 : end]
            at = min(end + 1, len(characters))
            if characters[at:].lstrip(" ")[:1] == ":" and inside == "object":
                mute, options = read_key(content, pieces)
                continue
            dropped, mute = mute and content.count(" ") < LEAST_MUTE, False
            if dropped:
                continue
            values += 1
            pieces.add(f" {BULLET} " if inside != "object" else " ")
            unescape(content, pieces)
        elif found in "0123456789-":
            start = at
            while at < len(characters) and characters[at] in "0123456789-+.e":
                at += 1
            if mute:
                mute = False
                continue
            pieces.add(f" {BULLET} " if inside == "options" else " ")
            pieces.add(characters[start:at])
        else:
            literal = next((word for word in LITERALS if characters.startswith(word, at)), None)
            if literal is None:
                return None
            mute = False
            at += len(literal)
    return pieces.text() if values else None


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


def read_key(key: str, pieces: Pieces) -> tuple[bool, bool]:
    """Whether the key's value says nothing, and whether it holds options. An option's key is its marker."""
    parts = key.replace(" ", "_").replace("-", "_").split("_")
    named = len(parts) == 1 or on(parts[0], "option")
    if named and (parts[-1] in (*LETTERS, "10") or (len(parts[-1]) == 1 and parts[-1] in "123456789")):
        pieces.add(" ")
        pieces.add(parts[-1])
        pieces.add(". ")
    return on(key, "mute"), any(on(part, "choices") for part in parts)


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
    """Whether a tag has no attributes and follows no word: not ``<input type="file">``, not ``List<Item>``."""
    length = len(tag.name) + 2 + tag.closes
    return tag.end - start == length and (tag.closes or not is_alphanumeric(view.before(start)))


def tags(view: View) -> list[Cut]:
    """All tags where the text starts with one that is closed later, else those with names of wrappers."""
    characters = view.characters
    first = tag_at(characters, 0) if characters[:1] == "<" else None
    wraps = first is not None and f"</{first.name}" in characters
    cuts, after = [], 0
    for token in range(len(view)):
        start = view.tokens[token].start
        if start < after or not view.is_symbol(token, "<"):
            continue
        tag = tag_at(characters, start)
        if tag is None or not (wraps or tag.name[0] == "|" or (on(tag.name, "tag") and is_bare(view, start, tag))):
            continue
        put = " "
        if not tag.closes:
            if len(tag.name) == 1 and tag.name in LETTERS:
                put = f" {tag.name}. "
            elif tag.name == "li" or on(tag.name, "option"):
                put = f" {BULLET} "
        cuts.append(Cut(start, tag.end, put))
        after = tag.end
    return cuts


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
            if language - end > 12 or view.at(language) != " ":
                language = end
            cuts.append(Cut(start, language, " "))
            while token < len(tokens) and tokens[token].start < language:
                token += 1
        elif mark == "#" and length <= 6 and free:
            named = view.listed(token, "asks", "answers", "choices") and len(view.text(token)) > 1
            last = token + (named and token + 1 < len(tokens) and tokens[token + 1].kind == NUMBER)
            if named and not view.is_symbol(last + 1, ":"):
                end = tokens[last].end
            cuts.append(Cut(start, end, " "))
        elif (
            (mark == ">" and quoted and length == 1 and free)
            or (mark in "-*•" and start == 0 and bulleted)
            or (mark in "-=*~#" and length >= 3 and free)
        ):
            cuts.append(Cut(start, end, " "))
        elif mark == "`" or (mark == "*" and length <= 3) or (mark == "_" and length <= 2):
            opens = not is_alphanumeric(view.before(start)) and view.at(end) != " " and view.before(start) != "\\"
            closes = not is_alphanumeric(view.at(end)) and view.before(start) != " "
            if mark in opened and closes and opened[mark][0] == length:
                cuts.append(Cut(start, end, ""))
                del opened[mark]
            elif mark not in opened and opens:
                opened[mark] = (length, len(cuts))
                cuts.append(Cut(start, end, ""))
    for _, place in opened.values():  # never closed: no decoration
        cuts[place] = replace(cuts[place], end=cuts[place].start)
    return [cut for cut in cuts if cut.end > cut.start]


# ------------------------------------------------------------------------------------------------- repeats

LONGEST_BLOCK, LEAST_SENTENCE = 48, 4
EMPTY_FROM, EMPTY_EQUATIONS = 6, 8
OPERATORS = "+-*/×÷−"


def alike(a: Token, b: Token) -> bool:
    """Same kind of part of an equation."""
    operators = a.kind == b.kind == SYMBOL and a.text in OPERATORS and b.text in OPERATORS
    return a.text == b.text or a.kind == b.kind == NUMBER or operators


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
    at = sentence = hashed = spoken = kept = 0
    in_options = False
    mask = (1 << 64) - 1

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
        if found:
            push(*found)
            kept, at = max(kept + found[0] - at, 0), found[1]
            continue
        exact = 0
        if token.kind == NUMBER:
            exact = 1
            for character in token.text:
                exact = (exact * 31 + ord(character)) & mask
        rotated = (hashed << 7 | hashed >> 57) & mask
        hashed = (rotated ^ identity ^ exact) * 0x9E37_79B9_7F4A_7C15 & mask
        in_options |= token.text[0] == "a" and view.marks_option(at)
        spoken += token.kind != SYMBOL
        kept += 1
        ends = view.ends_sentence(at) and token.text != ":"
        at += 1
        if not ends:
            continue
        if spoken >= LEAST_SENTENCE and not in_options:
            if said.get(hashed >> 54) == hashed:
                push(sentence, at)
            else:
                said[hashed >> 54] = hashed
        sentence, hashed, spoken = at, 0, 0
    if kept == 0 and cuts:  # one word stays
        cuts[0] = replace(cuts[0], start=tokens[0].end)
    return cuts


def run(view: View, before: int, at: int) -> tuple[int, int] | None:
    """First and one past the last token that say the block from ``before`` to ``at`` again, or nothing at all."""
    tokens, block = view.tokens, at - before
    if block > LONGEST_BLOCK:
        return None

    def length(equal: Callable[[Token, Token], bool]) -> int:
        place = at
        while place < len(tokens) and equal(tokens[place], tokens[place - block]):
            place += 1
        return place - at

    def dropped(first: int, end: int, often: bool) -> tuple[int, int]:
        if not often:
            return at, end
        return (block if first == 0 and end == len(tokens) else first), end

    def part(token: Token) -> bool:
        return token.kind == NUMBER or (token.kind == SYMBOL and token.text in OPERATORS + "=,;")

    found = length(lambda a, b: a.text == b.text)
    if found < block and any(token.kind == SYMBOL and token.text == "=" for token in tokens[before:at]):
        found = length(alike)
        if found < block:
            return None
        first = before
        while first > max(before - LONGEST_BLOCK, 0) and part(tokens[first - 1]):
            first -= 1
        often = all(map(part, tokens[before:at])) and found // block + 1 >= EMPTY_EQUATIONS
        return dropped(first, at + found, True) if often else None
    if found < (2 * block if block <= 2 else block):
        return None
    whole = found // block * block
    if all(token.kind == SYMBOL for token in tokens[before:at]):
        kept = int(block == 1)
        return (at, at + whole - kept) if whole > kept else None
    if found // block + 1 < EMPTY_FROM:
        return at, at + whole
    ahead = 0
    while ahead < min(block, before) and tokens[before - ahead - 1].text == tokens[at - ahead - 1].text:
        ahead += 1
    return dropped(before - ahead, at + found, True)


# ------------------------------------------------------------------------------------------------ dialogue

MOST_LABELS, FAR, LETTER_ANSWERS, MORE = 256, 64, 2, 4
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
    examples = worked_examples(last, asking, lambda index: answers(index) and filled(index))
    if examples:
        answered, first = examples
        if follows(view, *content(first)):  # it stands for what it follows
            first = next((index for index in reversed(range(answered)) if asking(index)), 0)
        about = labels[0].first
        task = about > 0 and asking(0) and view.ends_sentence(about - 1)
        start = view.tokens[about].start if task else 0
        cuts.append(Cut(start, view.tokens[labels[first].content - 1].end, " "))
        kept = first + 1
    elif (goes_on := after_letters(view, labels)) is not None:
        cuts.append(Cut(0, view.tokens[goes_on].start, " "))
        kept = next((index for index, label in enumerate(labels) if label.first >= goes_on), last + 1)
    else:
        kept = 0
        user = next((index for index, label in enumerate(labels) if label.role == "asks"), None)
        if user is not None and labels[0].first == 0 and view.listed(0, "system"):
            cuts.append(Cut(0, view.tokens[labels[user].content - 1].end, " "))
            kept = user + 1
    for index in range(kept, last + 1):
        label = labels[index]
        start = view.tokens[label.first].start
        if index == last and examples and closing is not None:
            cuts.append(Cut(start, len(view.characters), " "))
        elif label.role == "asks" and label.starts:
            cuts.append(Cut(start, view.tokens[label.content - 1].end, " "))
    return cuts


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
    enough = len(found) >= LETTER_ANSWERS or (len(found) == 1 and empty)
    return found[-1] if enough and len(view) - found[-1] > MORE else None


def closing_answer(view: View) -> list[Cut]:
    """A closing ``Answer:``, ``The answer is``, ``A:`` that nothing follows."""
    end = len(view)
    while end > 0 and view.is_symbol(end - 1, ":("):
        end -= 1
    colon = end < len(view)
    if end > 1 and view.listed(end - 1, "is"):
        end -= 1
    if end < 2 or not view.listed(end - 1, "answers"):
        return []
    end -= 1
    answer, letter = view.text(end) == "answer", len(view.text(end)) == 1
    first = end
    while first > 0 and (view.listed(first - 1, "kind") or (answer and view.text(first - 1) == "the")):
        first -= 1
    prose = first > 0 and view.listed(first - 1, "prose")
    if first > 0 and (answer or (colon and (letter or not prose))):
        return [Cut(view.tokens[first].start, len(view.characters), " ")]
    return []


# ------------------------------------------------------------------------------------------------ preamble

LEAST_REST, MOST_SENTENCES, LONGEST_SENTENCE, LONGEST_TAIL, LONGEST_BRIEF = 5, 24, 96, 40, 8


def begins(view: View, token: int, openings: tuple[tuple[str, ...], ...]) -> bool:
    """Whether one of the openings starts here."""
    found = tuple(each.text for each in view.tokens[token : token + 6])
    return view.listed(token, "opens") and any(found[: len(opening)] == opening for opening in openings)


def opens(view: View, token: int) -> bool:
    """Whether a sentence that starts here is preamble."""
    while view.is_symbol(token, "([*-—"):
        token += 1
    if view.listed(token, "notice") and view.is_symbol(token + 1, ":!"):
        return True
    return begins(view, token, OPENINGS) or (begins(view, token, BRIEF) and is_brief(view, token))


def is_brief(view: View, token: int) -> bool:
    """Whether the sentence that starts with this token is short."""
    most = token + LONGEST_BRIEF
    return most >= len(view) or any(map(view.ends_sentence, range(token, most)))


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
    aside = closing_aside(view, start, end)
    if aside is not None:
        return aside
    notice = [view.is_symbol(at, ":") and view.listed(at - 1, "notice") for at in range(len(view))]
    ends = (at for at in range(last - 1, least - 1, -1) if view.ends_sentence(at) and not notice[at])
    first = next((at + 1 for at in ends), least)
    if first > start and opens(view, first):
        return first
    tail = range(max(first, end - LONGEST_TAIL), last)
    return next((at for at in tail if begins(view, at, TAILS) and after_option(view, at)), None)


def closing_aside(view: View, start: int, end: int) -> int | None:
    """Where a whole sentence in brackets without a number starts that ends the text."""
    last = end - 2
    opening = {")": "(", "]": "["}.get(view.text(end - 1))
    if last < 0 or opening is None or not view.is_symbol(last, ".!"):
        return None
    least = max(start, end - LONGEST_SENTENCE)
    first = next((at for at in range(last - 1, least - 1, -1) if view.is_symbol(at, opening)), None)
    if first is None or first <= start or any(token.kind == NUMBER for token in view.tokens[first:end]):
        return None
    return first if view.ends_sentence(first - 1) or after_option(view, first) else None


def after_option(view: View, token: int) -> bool:
    """Whether an option with words of its own stands before this token."""
    return any(view.marks_option(at) for at in range(max(token - LONGEST_SENTENCE, 0), max(token - 2, 0)))


def preamble(view: View) -> list[Cut]:
    """Sentences at either end that say how to answer, who to be, or disclaim."""
    total, start = len(view), 0
    for _ in range(MOST_SENTENCES):
        found = sentence_end(view, start) if opens(view, start) else None
        if found is None or view.spoken(found, total) < LEAST_REST:
            break
        start = found
    end = total
    for _ in range(MOST_SENTENCES):
        found = last_sentence(view, start, end)
        if found is None or view.spoken(start, found) < LEAST_REST:
            break
        end = found
    cuts = [Cut(0, view.tokens[start].start, " ")] if start else []
    return cuts + ([Cut(view.tokens[end - 1].end, len(view.characters), " ")] if end < total else [])


# ------------------------------------------------------------------------------------------------- choices

MOST_OPTIONS, MOST_MARKERS = 10, 128
ROMAN = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x")
NUMBERS = tuple(str(number) for number in range(1, 11))
STRONG, WEAK = "•◦▪‣●○■□▫∙·➢→", "-*+–—"


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
    bracket = view.before(start) in "([" and not is_alphanumeric(view.before(start - 1))
    return start - 1 if bracket else None


def lettered(view: View, token: int, kind: str, ranks: tuple[str, ...] | str) -> Marker | None:
    """A letter, number or Roman numeral with its mark."""
    found = view.tokens[token]
    if found.text not in tuple(ranks) or found.kind != (NUMBER if kind == "number" else WORD):
        return None
    end = found.end
    if view.at(end) not in ".):]":
        return None
    end += 2 if view.at(end + 1) in ".):]" else 1
    if kind != "letter" and view.at(end) != " ":
        return None
    start = opening_of(view, found.start)
    if start is None:
        return None
    first = token - (start < found.start)
    if view.listed(first - 1, "option"):
        word = view.tokens[first - 1].start
        wider = opening_of(view, word)
        if wider is not None:
            start, first = wider, first - 1 - (wider < word)
    return Marker(kind, tuple(ranks).index(found.text), start, end, first)


def bullet(view: View, token: int) -> Marker | None:
    """A bullet between spaces; dashes and the like start a list only where a sentence ends."""
    found = view.tokens[token]
    if found.kind != SYMBOL or found.text not in STRONG + WEAK:
        return None
    if view.before(found.start) != " " or view.at(found.end) != " ":
        return None
    starts = found.text in STRONG or (token > 0 and view.ends_sentence(token - 1))
    return Marker(found.text, int(not starts), found.start, found.end, token)


def longest_list(markers: list[Marker]) -> list[Marker]:
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
                chain.append(following)
            elif following.rank == 0 and len(chain) == 1:
                break
        if 2 <= len(chain) <= MOST_OPTIONS and len(chain) >= len(longest):
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
    longest, rank = longest_list(markers), 0
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
