"""Convert a model2vec folder into the engine's static encoder, `encoder.safetensors`.

    python recipes/convert_encoder.py shared/models/static-minilm-256-int8 \
        --out python/tiny_dancer/data/encoder.safetensors

Reads `model.safetensors` (int8 embeddings, 256 wide) and `tokenizer.json` (BERT's uncased word pieces) and
writes one file: tensors `embeddings` I8 [pieces, 256] and `vocabulary` U8 [bytes] (the pieces in id order,
joined by line feeds), metadata `tiny_dancer` and `sha256` over the tensor bytes. The same input gives the
same bytes. What the engine would not reproduce (another tokenizer, weights, a token mapping) is refused here.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = "1.0.0"
WIDTH = 256
NAME = "static-minilm-256-int8"
SOURCE = "distilled with model2vec from sentence-transformers/all-MiniLM-L6-v2"
LICENCE = "MIT (model2vec), Apache-2.0 (all-MiniLM-L6-v2)"


def read_embeddings(path: Path) -> np.ndarray:
    """Return the int8 matrix of a model2vec `model.safetensors`, which must hold nothing else."""
    raw = path.read_bytes()
    (length,) = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__", None)
    if set(header) != {"embeddings"}:
        raise SystemExit(
            f"{path}: tensors {sorted(header)}; only embeddings, unweighted and unmapped, are converted"
        )
    tensor = header["embeddings"]
    if tensor["dtype"] != "I8" or len(tensor["shape"]) != 2 or tensor["shape"][1] != WIDTH:
        raise SystemExit(
            f"{path}: embeddings {tensor['dtype']} {tensor['shape']}; I8 [pieces, {WIDTH}] is converted"
        )
    start, end = (8 + length + offset for offset in tensor["data_offsets"])
    return np.frombuffer(raw[start:end], dtype=np.int8).reshape(tensor["shape"])


def read_vocabulary(path: Path) -> list[str]:
    """Return the pieces of a `tokenizer.json` in id order; refuse one that does not cut as BERT uncased."""
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    model = tokenizer["model"]
    expected: list[tuple[str, Any, Any]] = [
        (
            "normalizer",
            tokenizer["normalizer"],
            {
                "type": "BertNormalizer",
                "clean_text": True,
                "handle_chinese_chars": True,
                "strip_accents": None,
                "lowercase": True,
            },
        ),
        ("pre_tokenizer", tokenizer["pre_tokenizer"], {"type": "BertPreTokenizer"}),
        ("post_processor", tokenizer["post_processor"], None),
        ("model.type", model["type"], "WordPiece"),
        ("model.unk_token", model["unk_token"], "[UNK]"),
        ("model.continuing_subword_prefix", model["continuing_subword_prefix"], "##"),
        ("model.max_input_chars_per_word", model["max_input_chars_per_word"], 100),
    ]
    for field, found, wanted in expected:
        if found != wanted:
            raise SystemExit(
                f"{path}: {field} is {found!r}; the engine cuts as BERT uncased does, with {wanted!r}"
            )
    pieces = sorted(model["vocab"], key=model["vocab"].__getitem__)
    if [model["vocab"][piece] for piece in pieces] != list(range(len(pieces))):
        raise SystemExit(f"{path}: ids have gaps; convert a model whose ids are its row numbers")
    # The engine recognises BERT's control pieces in raw text by their names.
    control = {piece for piece in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]") if piece in model["vocab"]}
    added = {token["content"] for token in tokenizer["added_tokens"]}
    if added != control:
        raise SystemExit(f"{path}: added tokens {sorted(added)}; the engine recognises {sorted(control)}")
    return pieces


def write_encoder(
    embeddings: np.ndarray,
    pieces: list[str],
    out: Path,
    name: str = NAME,
    source: str = SOURCE,
    licence: str = LICENCE,
) -> str:
    """Write the encoder and return the checksum of its tensor bytes."""
    if len(pieces) != len(embeddings):
        raise SystemExit(f"{len(pieces)} pieces for {len(embeddings)} embeddings; convert a matching pair")
    vocabulary = "\n".join(pieces).encode()
    data = embeddings.tobytes() + vocabulary
    checksum = hashlib.sha256(data).hexdigest()
    manifest = {"format": FORMAT, "kind": "encoder", "name": name, "source": source, "licence": licence}
    header = {
        "__metadata__": {"sha256": checksum, "tiny_dancer": json.dumps(manifest)},
        "embeddings": {
            "dtype": "I8",
            "shape": list(embeddings.shape),
            "data_offsets": [0, embeddings.nbytes],
        },
        "vocabulary": {
            "dtype": "U8",
            "shape": [len(vocabulary)],
            "data_offsets": [embeddings.nbytes, len(data)],
        },
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    # Padded so that the rows start on a cache line of the file.
    text += b" " * (-(8 + len(text)) % 64)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return checksum


def main() -> None:
    """Convert the folder named on the command line."""
    parser = argparse.ArgumentParser(description="Convert a model2vec folder into encoder.safetensors.")
    parser.add_argument("source", type=Path, help="model2vec folder: model.safetensors and tokenizer.json")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    arguments = parser.parse_args()
    embeddings = read_embeddings(arguments.source / "model.safetensors")
    pieces = read_vocabulary(arguments.source / "tokenizer.json")
    checksum = write_encoder(embeddings, pieces, arguments.out)
    print(f"{arguments.out}: {len(pieces)} pieces, {arguments.out.stat().st_size} bytes, sha256 {checksum}")


if __name__ == "__main__":
    main()
