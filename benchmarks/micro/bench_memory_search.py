"""Stored memories found by words: beside numpy, bm25s, FTS5 and sqlite-vec over the same texts in the same run.

bm25s ranks an index of words that stands still, without a filter and without a database; FTS5 words alone, in a
file; sqlite-vec the static encoder's embeddings alone, in a file. Ours ranks words, character grams and embeddings
together, over a durable database, and looks before each query whether anything has been written.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import apsw
import bm25s
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import together, write
from tiny_dancer import _core
from tiny_dancer.storage import CandidateRecord, SqliteStorage

K = 5
TARGETS_US = {10_000: 500, 100_000: 8_000}
# Share of the candidates that a filter passes.
SHARES = (0.001, 0.01, 0.1, 0.5, 0.99)
_LETTERS = np.array(list("etaoinshrdlucmfwygpbvk"))


def texts(count: int, generator: np.random.Generator) -> list[str]:
    """Sentences of 10 to 30 words whose frequencies follow Zipf's law, from a vocabulary of 30,000."""
    lengths = generator.integers(2, 11, size=30_000)
    vocabulary = np.array(["".join(generator.choice(_LETTERS, length)) for length in lengths])
    weights = 1 / np.arange(1, len(vocabulary) + 1)
    words = generator.choice(vocabulary, size=(count, 30), p=weights / weights.sum())
    sizes = generator.integers(10, 31, size=count)
    return [" ".join(row[:size]) + "." for row, size in zip(words, sizes, strict=True)]


def search(rows: int, folder: Path) -> dict[str, Any]:
    """One size: loading, queries with and without filters, an insert and the query that sees it."""
    generator = np.random.default_rng(rows)
    said = texts(rows + 500, generator)
    said, more = said[:rows], said[rows:]
    queries = [" ".join(said[row].split()[:8]) for row in generator.integers(rows, size=50)]
    shares = generator.random(rows)
    records = [
        CandidateRecord(
            f"{row:06}",
            text=text,
            created_at=1.75e9 + row,
            metadata={f"within {share}": bool(shares[row] < share) for share in SHARES},
        )
        for row, text in enumerate(said)
    ]
    embeddings = _core.encode(said)
    encoded = _core.encode(queries)

    words = bm25s.BM25()
    words.index(bm25s.tokenize(said, show_progress=False), show_progress=False)
    full_text = apsw.Connection(str(folder / f"{rows}-words.db"))
    full_text.execute("CREATE VIRTUAL TABLE said USING fts5 (text)")
    with full_text:
        full_text.executemany("INSERT INTO said VALUES (?)", ((text,) for text in said))

    def of_full_text(turn: int) -> object:
        asked = " OR ".join(f'"{word}"' for word in queries[turn % 50].split())
        return full_text.execute(
            "SELECT rowid FROM said WHERE said MATCH ? ORDER BY rank LIMIT ?", (asked, K)
        ).fetchall()

    with (
        SqliteStorage(folder / f"{rows}.db") as storage,
        SqliteStorage(folder / f"{rows}-vectors.db", mirror=False) as vectors,
    ):
        start = time.perf_counter()
        storage.insert_candidates(records)
        inserted = time.perf_counter() - start
        start = time.perf_counter()
        storage.query_candidates(queries[0], K, touch=False)
        loaded = time.perf_counter() - start
        vectors.insert_candidates(
            CandidateRecord(f"{row:06}", embedding) for row, embedding in enumerate(embeddings) if embedding.any()
        )

        def inserted_and_found(turn: int) -> None:
            new = CandidateRecord(f"new {turn}", text=f"{more[turn % len(more)]} unheard{turn}")
            storage.upsert_candidates([new])
            (found,) = storage.query_candidates(f"unheard{turn}", 1, touch=False)
            assert found.candidate.id == new.id

        def after_an_insert(turn: int) -> float:
            storage.upsert_candidates([CandidateRecord(f"newer {turn}", text=more[turn % len(more)])])
            start = time.perf_counter()
            storage.query_candidates(queries[turn % 50], K, touch=False)
            return (time.perf_counter() - start) * 1e6

        rounds = max(30, 1_000_000 // rows)
        found = together(
            {
                "numpy": lambda turn: embeddings @ encoded[turn % 50],
                "text": lambda turn: storage.query_candidates(queries[turn % 50], K, touch=False),
                "text, counting accesses": lambda turn: storage.query_candidates(queries[turn % 50], K),
                **{
                    f"text, filter passes {share:.1%}": lambda turn, share=share: storage.query_candidates(
                        queries[turn % 50], K, filter={f"within {share}": True}, touch=False
                    )
                    for share in SHARES
                },
                "bm25s": lambda turn: words.retrieve(
                    bm25s.tokenize(queries[turn % 50], show_progress=False), k=K, show_progress=False
                ),
            },
            rounds,
        )
        found |= together({"FTS5": of_full_text}, max(10, 100_000 // rows))
        found |= together(
            {"sqlite-vec": lambda turn: vectors.query_candidates(encoded[turn % 50], K, touch=False)},
            max(10, 100_000 // rows),
        )
        writes = together({"insert, then find it": inserted_and_found}, 50)
        after = [after_an_insert(turn) for turn in range(50)]
    return {
        "target_us": TARGETS_US[rows],
        **{
            name: {
                "best_us": round(best, 1),
                "median_us": round(median, 1),
                "x numpy (best)": round(best / found["numpy"][0], 2),
                "x text (median)": round(median / found["text"][1], 2),
            }
            for name, (best, median) in (found | writes).items()
        },
        "query_after_an_insert_us": round(float(np.median(after)), 1),
        "insert_per_s": round(rows / inserted),
        "load_mirror_s": round(loaded, 3),
    }


def main() -> None:
    """Two sizes."""
    with tempfile.TemporaryDirectory() as name:
        figures = {f"{rows:,} memories, k = {K}": search(rows, Path(name)) for rows in TARGETS_US}
    write("memory_search", figures, __doc__.split("\n\n")[1].replace("\n", " "))


if __name__ == "__main__":
    main()
