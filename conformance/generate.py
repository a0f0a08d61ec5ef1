"""Write the conformance vectors and artifacts from the reference implementation, never from the engine.

    python conformance/generate.py            write them
    python conformance/generate.py --check    exit 1 where the committed ones differ

(``vectors/encoder.json`` is older and stands on Hugging Face `tokenizers`: see ``generate_encoder.py``.)
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import math
import struct
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from candidate_cases import candidate_vectors  # noqa: E402
from cells import cell_vectors  # noqa: E402
from conformal_cases import conformal_vectors  # noqa: E402
from decisions import DAMAGES, DECISIONS, damaged  # noqa: E402
from examples import REFUSED, REQUESTS, TEXTS, expand, to_request  # noqa: E402
from reference import Encoder, Options, Refusal, Router, featurise  # noqa: E402
from reference.text import bounded, character_ngrams, normalise, tokenise, word_ngrams  # noqa: E402
from weights import make_all  # noqa: E402

ENCODER = HERE.parent / "python" / "tiny_dancer" / "data" / "encoder.safetensors"
MOST_LISTED = 64

Vector = dict[str, Any]


def number(value: float) -> float:
    """A single with the nine digits that tell it from every other."""
    return float(f"{value:.9g}")


def ngrams(words: set[int], characters: set[int]) -> Vector:
    """Indices in order where they are few; always their number and the digest of all as u32, little-endian."""
    indices = sorted(words | characters)
    digest = hashlib.sha256(struct.pack(f"<{len(indices)}I", *indices)).hexdigest()
    found: Vector = {"words": len(words), "characters": len(characters), "sha256": digest}
    if len(indices) <= MOST_LISTED:
        found["indices"] = indices
    return found


def plain(options: Vector) -> Vector:
    """Options as JSON can hold them: numbers that are not finite become strings."""

    def one(value: Any) -> Any:
        return str(value) if isinstance(value, float) and not math.isfinite(value) else value

    return {name: one(value) for name, value in options.items()}


def text_vectors() -> list[Vector]:
    """Normal form, tokens and n-grams of texts."""
    found = []
    for explain, text in TEXTS:
        head, tail = bounded(expand(text))
        characters = normalise(tail, before=normalise(head))
        tokens = tokenise(characters)
        vector: Vector = {"explain": explain, "text": text}
        if len(characters) <= 200:
            vector["normal"] = characters
            vector["tokens"] = [[token.kind, token.text] for token in tokens]
        else:
            vector["normal_sha256"] = hashlib.sha256(characters.encode()).hexdigest()
            vector["token_count"] = len(tokens)
        vector["ngrams"] = ngrams(word_ngrams(tokens), character_ngrams(characters))
        found.append(vector)
    return found


def feature_vectors(encoder: Encoder) -> list[Vector]:
    """All features of requests, and what is refused."""
    found: list[Vector] = []
    for explain, described in REQUESTS:
        features = featurise(to_request(described), encoder)
        embedding = struct.pack(f"{len(features.embedding)}b", *features.embedding)
        found.append(
            {
                "explain": explain,
                "request": described,
                "tokens": features.tokens,
                "ngrams": ngrams(features.word_ngrams, features.character_ngrams),
                "cues": {name: number(value) for name, value in features.cues.items() if value},
                "embedding": base64.b64encode(embedding).decode() if any(embedding) else "",
            }
        )
    for explain, described in REFUSED:
        try:
            featurise(to_request(described), encoder)
        except Refusal as refusal:
            found.append({"explain": explain, "request": described, "error": refusal.kind})
    return found


def decided(router: Router, described: Vector, options: Vector) -> Vector:
    """What the router must answer."""
    try:
        decision = router.decide(to_request(described), Options(**options))
    except Refusal as refusal:
        return {"error": refusal.kind}
    choice, expect = decision.choice, decision.expect
    return {
        "model": choice.model,
        "reason": choice.reason,
        "routed_by": choice.routed_by,
        "as_certified": choice.as_certified,
        "quality": [number(value) for value in expect.quality],
        "cost": [None if cost is None else float(f"{cost:.12g}") for cost in expect.cost],
        "confidence": number(decision.confidence),
        "prediction_set": [model for model, member in enumerate(expect.prediction_set) if member],
    }


def decision_vectors(encoder: Encoder, artifacts: dict[str, bytes]) -> list[Vector]:
    """Requests with options, and their decisions."""
    found = []
    for explain, artifact, described, options, changes in DECISIONS:
        vector: Vector = {
            "explain": explain,
            "artifact": artifact,
            "request": described,
            "options": plain(options),
        }
        router = Router(artifacts[artifact], encoder)
        if changes:
            vector["changes"] = changes
        try:
            router.change_models(changes)
            vector["expect"] = decided(router, described, options)
        except Refusal as refusal:
            vector["expect"] = {"error": refusal.kind}
        found.append(vector)
    return found


def damage_vectors(encoder: Encoder, artifacts: dict[str, bytes]) -> list[Vector]:
    """Artifacts that must be refused when they are loaded."""
    found = []
    for explain, artifact, damage in DAMAGES:
        try:
            Router(damaged(artifacts[artifact], damage), None if damage.get("no_encoder") else encoder)
            raise AssertionError(f"not refused: {explain}")
        except Refusal as refusal:
            found.append({"explain": explain, "artifact": artifact, "damage": damage, "error": refusal.kind})
    return found


def document(vectors: list[Vector], **head: Any) -> bytes:
    """JSON with one vector a line."""
    lines = ",\n".join("  " + json.dumps(vector, allow_nan=False) for vector in vectors)
    text = json.dumps(head)[:-1] + ', "vectors": [\n' + lines + "\n]}\n"
    json.loads(text)
    return text.encode()


def generate() -> dict[str, bytes]:
    """All files by their path in this folder."""
    encoder = Encoder.from_bytes(ENCODER.read_bytes())
    made = make_all(encoder)
    exact = {"integers, strings and choices": 0}
    cues = {**exact, "cues": {"absolute": 1e-6, "relative": 1e-6}}
    numbers = {"absolute": 1e-6, "relative": 1e-6}
    numbers_of_doubles = {"absolute": 1e-12, "relative": 1e-12}
    decisions = {**exact, "quality, confidence": numbers, "cost": {"absolute": 0, "relative": 1e-6}}
    candidates = {**exact, "features, scores": {"absolute": 1e-5}}
    encoder_head = {"encoder": encoder.checksum, "feature_spec": "1"}
    files = {
        "vectors/text.json": document(text_vectors(), tolerance=exact),
        "vectors/features.json": document(feature_vectors(encoder), **encoder_head, tolerance=cues),
        "vectors/decisions.json": document(decision_vectors(encoder, made), **encoder_head, tolerance=decisions),
        "vectors/conformal.json": document(conformal_vectors(), tolerance={**exact, "scores": numbers_of_doubles}),
        "vectors/candidates.json": document(candidate_vectors(), format=2, tolerance=candidates),
        "vectors/fastgrnn.json": document(cell_vectors(), tolerance={"hidden": {"absolute": 1e-6}}),
        "vectors/damages.json": document(damage_vectors(encoder, made), **encoder_head, tolerance=exact),
    }
    return files | {f"artifacts/{name}.safetensors": data for name, data in made.items()}


def main() -> None:
    """Write or check the files."""
    parser = argparse.ArgumentParser(description="Write the conformance vectors and artifacts.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file differs")
    check = parser.parse_args().check
    stale = []
    for name, data in generate().items():
        path = HERE / name
        if not path.exists() or path.read_bytes() != data:
            stale.append(name)
            if not check:
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(data)
        print(f"{'differs' if name in stale else 'as is':8} {len(data):8} bytes  {name}")
    sys.exit(1 if check and stale else 0)


if __name__ == "__main__":
    main()
