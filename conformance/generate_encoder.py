"""Write `vectors/encoder.json`: what the static encoder must make of short strings.

    python conformance/generate_encoder.py shared/models/static-minilm-256-int8

Expected values come from `tokenizers` and exact integers here, never from the engine. Every string is written
for this purpose; none is from a data set. Bindings must reproduce every field exactly: the tolerance is 0.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import struct
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

HERE = Path(__file__).resolve().parent
ENCODER = HERE.parent / "python" / "tiny_dancer" / "data" / "encoder.safetensors"
UNKNOWN = 1

STRINGS = [
    ("nothing at all: no pieces, a vector of zeros", ""),
    ("white space alone has no pieces", " \t\r\n  "),
    ("one known word", "dancer"),
    ("upper case is folded", "DANCER"),
    ("words of one piece each", "the small band plays in the garden"),
    ("a word cut into several pieces", "untranslatability"),
    ("the greedy match takes the longest piece first", "unaffordable housing"),
    ("an apostrophe is punctuation of its own", "don't"),
    ("runs of punctuation give one piece each", "wait... what?!"),
    ("ASCII symbols split like punctuation", "a+b=c<d>e^f|g~h`i$j"),
    ("the dollar sign splits off", "$5 for tea"),
    ("the euro sign is no punctuation: it stays in the word", "€5 for tea"),
    ("the pound sign has pieces that begin with it", "£5 for tea"),
    ("a superscript stays in the word", "x² + y²"),
    ("underscore and hyphen split", "snake_case and kebab-case"),
    ("a precomposed accent is dropped", "naïve café"),
    ("a combining accent is dropped too", "nai\u0308ve cafe\u0301"),
    ("ring above, upper case", "Ångström"),
    ("a dotted capital I becomes a plain i", "İzmir"),
    ("final sigma is not special", "ΣΟΦΟΣ"),
    ("sharp s is kept, its capital is folded", "Straße GROẞ"),
    ("every CJK ideograph is a word", "你好世界"),
    ("ideographs split the words around them", "ab漢字cd"),
    ("a compatibility ideograph is decomposed", "\uf900"),
    ("Hangul is decomposed into letters", "안녕"),
    ("kana are words, voicing marks are dropped", "がぎぐ です"),
    ("Cyrillic", "Привет, мир"),
    ("Devanagari keeps spacing marks only", "हिन्दी"),
    ("an emoji is an unknown word: counted, not pooled", "good 😀 day"),
    ("nothing but unknown words: a vector of zeros", "😀 🎉"),
    ("NUL is dropped and joins what it stood between", "dan\u0000cer"),
    ("other control characters are dropped too", "dan\u0001c\u007fer\u000b"),
    ("tab and line feed separate words", "one\ttwo\nthree\r\nfour"),
    ("the replacement character is dropped", "dan\ufffdcer"),
    ("zero-width joiner and soft hyphen are dropped", "dan\u200dc\u00ader"),
    ("no-break and ideographic space separate words", "one\u00a0two\u3000three"),
    ("typographic quotes and dashes are punctuation", "“yes” — he said…"),
    ("not-equal decomposes into an equals sign, which splits", "a≠b"),
    ("a word of 100 letters is cut", "ab" * 50),
    ("a word of 101 letters is unknown", "ab" * 50 + "c"),
    ("control pieces are recognised in the raw text", "x [PAD] y [UNK] z"),
    ("but only in capitals, and only those of this vocabulary", "[pad] [CLS]"),
    ("code", "fn add(a: u32, b: u32) -> u32 { a + b }"),
    ("more rows than one batch of 256", "left right " * 200),
    ("numbers", "In 1999, 3.14 * 2 == 6.28"),
]


def read_embeddings(path: Path) -> np.ndarray:
    """Return the int8 rows of a model2vec folder's `model.safetensors`."""
    raw = path.read_bytes()
    (length,) = struct.unpack_from("<Q", raw)
    tensor = json.loads(raw[8 : 8 + length])["embeddings"]
    start, end = (8 + length + offset for offset in tensor["data_offsets"])
    return np.frombuffer(raw[start:end], dtype=np.int8).reshape(tensor["shape"])


def quantise(sums: list[int]) -> bytes:
    """Return the direction of `sums` in int8: v × 127 ÷ max|v|, half away from zero."""
    largest = max(map(abs, sums))
    sizes = [(254 * abs(value) + largest) // (2 * largest) if largest else 0 for value in sums]
    return struct.pack(
        f"{len(sums)}b", *(-size if value < 0 else size for size, value in zip(sizes, sums, strict=True))
    )


def checksum(path: Path) -> str:
    """Return the SHA-256 of the tensor bytes of the shipped encoder."""
    raw = path.read_bytes()
    return hashlib.sha256(raw[8 + struct.unpack_from("<Q", raw)[0] :]).hexdigest()


def main() -> None:
    """Write the vectors."""
    parser = argparse.ArgumentParser(description="Write the static encoder's conformance vectors.")
    parser.add_argument("source", type=Path, help="model2vec folder: model.safetensors and tokenizer.json")
    arguments = parser.parse_args()
    rows = read_embeddings(arguments.source / "model.safetensors").astype(np.int64)
    tokenizer = Tokenizer.from_file(str(arguments.source / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    vectors = []
    for explain, text in STRINGS:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        known = [index for index in ids if index != UNKNOWN]
        direction = quantise([int(value) for value in rows[known].sum(axis=0)])
        vectors.append(
            {
                "explain": explain,
                "text": text,
                "tokens": len(ids),
                "known": len(known),
                "rank_sum": sum(known),
                "int8_first_16": list(struct.unpack("16b", direction[:16])),
                "int8_sha256": hashlib.sha256(direction).hexdigest(),
            }
        )
    head = {
        "artifact": "python/tiny_dancer/data/encoder.safetensors",
        "checksum": checksum(ENCODER),
        "tolerance": 0,
    }
    lines = ",\n".join("  " + json.dumps(vector) for vector in vectors)
    text = json.dumps(head)[:-1] + ', "vectors": [\n' + lines + "\n]}\n"
    json.loads(text)
    (HERE / "vectors" / "encoder.json").write_text(text, encoding="utf-8")
    print(f"{len(vectors)} vectors")


if __name__ == "__main__":
    main()
