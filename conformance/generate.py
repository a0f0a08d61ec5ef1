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
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from agent_cases import agent_vectors  # noqa: E402
from candidate_cases import candidate_vectors  # noqa: E402
from cells import cell_vectors  # noqa: E402
from conformal_cases import conformal_vectors  # noqa: E402
from conversations import ALONE, GROUPS  # noqa: E402
from decisions import DAMAGES, DECISIONS, damaged  # noqa: E402
from drift_cases import shift_vectors, stream_vectors  # noqa: E402
from edge_cases import ARTIFACT as SHIPPED_EDGE  # noqa: E402
from edge_cases import EDGE  # noqa: E402
from examples import REFUSED, REQUESTS, SHAPED, TEXTS, Raw, as_json, described, expand  # noqa: E402
from reference import Encoder, Refusal, Request, Router, featurise  # noqa: E402
from reference.artifact import FEATURE_SPEC  # noqa: E402
from reference.text import bounded, character_ngrams, normalise, tokenise, word_ngrams  # noqa: E402
from resilience_cases import breaker_vectors, outage_vectors  # noqa: E402
from route_cases import route_vectors  # noqa: E402
from task_cases import task_vectors  # noqa: E402
from tool_cases import tool_vectors  # noqa: E402
from weights import make_all  # noqa: E402

if TYPE_CHECKING:
    from asking_cases import Case

ENCODER = HERE.parent / "python" / "tiny_dancer" / "data" / "encoder.safetensors"
SENTENCES = ENCODER.with_name("sentences.safetensors")
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
    """All features of requests by every specification, and what is refused."""
    first = [(group, next(iter(forms.values()))) for group, forms in GROUPS.items()]
    shaped = [(explain, request, "3") for explain, request in SHAPED]
    cases = [(explain, request, "3") for explain, request in (*REQUESTS, *first, *ALONE, *REFUSED)] + shaped
    cases += [(explain, request, "2") for explain, request in (*REQUESTS, *first, *ALONE)]
    cases += [(explain, request, "1") for explain, request in (*first, *ALONE) if isinstance(request, Raw)]
    return [feature_vector(encoder, *case) for case in cases]


def feature_vector(encoder: Encoder, explain: str, request: Any, spec: str) -> Vector:
    """The features of one request, or that it is refused."""
    vector: Vector = {"explain": explain, "spec": spec, **described("request", request)}
    try:
        features = featurise(Request.from_json(as_json(vector, "request")), encoder, spec)
    except Refusal as refusal:
        return {**vector, "error": refusal.kind}
    embedding = struct.pack(f"{len(features.embedding)}b", *features.embedding)
    return {
        **vector,
        "tokens": features.tokens,
        "ngrams": ngrams(features.word_ngrams, features.character_ngrams),
        "cues": {name: number(value) for name, value in features.cues.items() if value},
        "embedding": base64.b64encode(embedding).decode() if any(embedding) else "",
    }


def decided(router: Router, vector: Vector) -> Vector:
    """What the router must answer."""
    try:
        answer = router.answer(as_json(vector, "request"), as_json(vector, "options"))
    except Refusal as refusal:
        return {"error": refusal.kind}
    for name in ("quality", "confidence"):
        answer[name] = number(answer[name])
    if answer["likeness"] is not None:
        answer["likeness"] = number(answer["likeness"])
    answer["scores"] = {name: number(value) for name, value in answer["scores"].items()}
    for name in ("costs", "latencies"):
        answer[name] = {model: dollars(value) for model, value in answer[name].items()}
    return {**answer, "cost": dollars(answer["cost"])}


def dollars(value: float | None) -> float | None:
    """A double of twelve digits, or None."""
    return None if value is None else float(f"{value:.12g}")


def decision_vectors(cases: list[Case], encoder: Encoder | None, artifacts: dict[str, bytes]) -> list[Vector]:
    """Requests with options, and the whole answers."""
    found = []
    loaded = {name: Router(artifacts[name], encoder) for name in dict.fromkeys(case[1] for case in cases)}
    for explain, artifact, request, options, changes in cases:
        vector: Vector = {"explain": explain, "artifact": artifact, **described("request", request)}
        if options != {}:
            vector |= described("options", options)
        router = loaded[artifact]
        try:
            if changes:
                vector["changes"] = changes
                router = Router(artifacts[artifact], encoder)
                router.change_models(changes)
            vector["expect"] = decided(router, vector)
        except Refusal as refusal:
            vector["expect"] = {"error": refusal.kind}
        found.append(vector)
    return found


def one_answer_a_group(found: list[Vector]) -> list[Vector]:
    """The same vectors, of which all forms of one request must have one answer."""
    answers = {vector["explain"]: vector["expect"] for vector in found if vector["artifact"] == "pair"}
    for group, forms in GROUPS.items():
        assert len({json.dumps(answers[f"{group}: {form}"]) for form in forms}) == 1, group
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


def drift_vectors(encoder: Encoder, artifacts: dict[str, bytes]) -> list[Vector]:
    """Streams watched: one alarm alone, and all of them over an artifact with a certificate and one without."""
    watched = {}
    for name in ("pair", "older"):
        router = Router(artifacts[name], encoder)
        test = router.likeness
        watched[name] = (router.header, None if test is None else list(test.p_values))
    return shift_vectors() + stream_vectors(watched)


def document(vectors: list[Vector], **head: Any) -> bytes:
    """JSON with one vector a line."""
    lines = ",\n".join("  " + json.dumps(vector, allow_nan=False) for vector in vectors)
    text = json.dumps(head)[:-1] + ', "vectors": [\n' + lines + "\n]}\n"
    json.loads(text)
    return text.encode()


def route_document(encoder: Encoder) -> bytes:
    """Vectors of routes, with the artifacts they ask written out."""
    made = route_vectors(encoder)
    numbers = {"integers, strings and choices": 0, "probabilities, scores": {"absolute": 1e-5}}
    head = {"format": 3, "encoder": encoder.checksum, "tolerance": numbers, "artifacts": made["artifacts"]}
    return document(made["vectors"], **head)


def generate() -> dict[str, bytes]:
    """All files by their path in this folder."""
    encoder, sentences = (Encoder.from_bytes(path.read_bytes()) for path in (ENCODER, SENTENCES))
    made = make_all(encoder)
    exact = {"integers, strings and choices": 0}
    cues = {**exact, "cues": {"absolute": 1e-6, "relative": 1e-6}}
    numbers = {"absolute": 1e-6, "relative": 1e-6}
    numbers_of_doubles = {"absolute": 1e-12, "relative": 1e-12}
    decisions = {
        **exact,
        "scores, quality, confidence, likeness": numbers,
        "costs, latencies": {"absolute": 0, "relative": 1e-6},
    }
    candidates = {**exact, "features, scores": {"absolute": 1e-5}}
    # Embeddings are rounded to int8 in the engine.
    tools = {**exact, "scores without encoder": {"absolute": 1e-3}, "scores": {"absolute": 0.3}}
    encoder_head = {"format": 2, "encoder": encoder.checksum, "feature_spec": FEATURE_SPEC}
    sentences_head = {**encoder_head, "encoder": sentences.checksum}
    files = {
        "vectors/text.json": document(text_vectors(), format=2, tolerance=exact),
        "vectors/features.json": document(feature_vectors(encoder), **encoder_head, tolerance=cues),
        "vectors/decisions.json": document(
            one_answer_a_group(decision_vectors(DECISIONS, encoder, made)), **encoder_head, tolerance=decisions
        ),
        "vectors/edge.json": document(
            decision_vectors(EDGE, None, {"edge": SHIPPED_EDGE.read_bytes()}),
            format=2,
            encoder=None,
            feature_spec=FEATURE_SPEC,
            tolerance=decisions,
        ),
        "vectors/conformal.json": document(conformal_vectors(), tolerance={**exact, "scores": numbers_of_doubles}),
        "vectors/drift.json": document(
            drift_vectors(encoder, made), format=2, tolerance={**exact, "capital": {"relative": 1e-9}}
        ),
        "vectors/candidates.json": document(candidate_vectors(), format=2, tolerance=candidates),
        "vectors/routes.json": route_document(sentences),
        "vectors/agents.json": document(
            agent_vectors(), format=2, tolerance={**exact, "numbers": {"relative": 1e-8}}
        ),
        "vectors/fastgrnn.json": document(cell_vectors(), tolerance={"hidden": {"absolute": 1e-6}}),
        "vectors/tasks.json": document(
            task_vectors(encoder),
            format=2,
            encoder=encoder.checksum,
            tolerance={**exact, "numbers": {"absolute": 1e-5}},
        ),
        "vectors/tools.json": document(tool_vectors(sentences), **sentences_head, tolerance=tools),
        "vectors/breaker.json": document(breaker_vectors(), format=2, tolerance={**exact, "seconds": 0}),
        "vectors/outage.json": document(outage_vectors(encoder, made), **encoder_head, tolerance=exact),
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
