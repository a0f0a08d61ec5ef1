"""FastGRNN from data to engine, phase by phase: baseline, distillation, pruning, integers.

Run: python recipes/fastgrnn.py digits      scikit-learn's digits, read row by row: 8 steps of 8 values
     python recipes/fastgrnn.py clinc150    150 intents, token by token (needs ../shared)
     python recipes/fastgrnn.py candidates  a scorer of candidates, on rankings made here

The guide docs/guides/compress-a-classifier.md shows what it prints.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from tables import SHARED
from tiny_dancer.training.fastgrnn import reference
from tiny_dancer.training.fastgrnn.data import Examples, read_examples
from tiny_dancer.training.fastgrnn.ranker import fit_ranker
from tiny_dancer.training.fastgrnn.report import training_table
from tiny_dancer.training.fastgrnn.run import Settings, fit_classifier

if TYPE_CHECKING:
    from tiny_dancer.training.fastgrnn.export import Held

# -----------------------------------------------------------------------------
# what to train on, and how large
what = sys.argv[1] if len(sys.argv) > 1 else "digits"
out = Path(f"{what}.safetensors")
seed = 0
forms: tuple[Held, ...] = ("sparse", "int4", "int8")  # every form is judged, the last one written
sparsity = 0.9
# -----------------------------------------------------------------------------

if what == "digits":
    from sklearn.datasets import load_digits

    digits = load_digits()
    examples = Examples(tuple(map(str, digits.target)), None, (digits.images / 16).astype(np.float32), "digits")
    validation = None  # a fifth of each digit is held out
    settings = Settings(hidden=64, teacher_hidden=64, forms=forms, sparsity=sparsity, seed=seed)
elif what == "clinc150":
    examples = read_examples(SHARED / "clinc150_train.parquet")
    validation = read_examples(SHARED / "clinc150_val.parquet")  # its out-of-scope rows have no label to learn
    settings = Settings(hidden=256, teacher_hidden=128, forms=forms, sparsity=sparsity, seed=seed)
elif what == "candidates":
    # 60 queries with 50 candidates of 8 features each; useful is what is similar and recent at once
    generator = np.random.default_rng(seed)
    query = np.repeat(np.arange(60), 50)
    features = generator.uniform(0, 1, (len(query), 8)).astype(np.float32)
    value = features[:, 0] * features[:, 1] + 0.3 * features[:, 2] + generator.normal(0, 0.03, len(query))
    relevance = (value.reshape(60, 50) >= np.sort(value.reshape(60, 50))[:, [-3]]).ravel().astype(float)
    learned, fresh = query < 40, query >= 40
    for distil in (False, True):
        tensors = fit_ranker(features[learned], relevance[learned], query[learned], distil=distil, seed=seed)
        cell = reference.Cell.read(tensors, "cell", 8)
        state = cell.step(features[fresh], np.zeros((int(fresh.sum()), len(cell.gate_bias)), np.float32))
        score = reference.logits(tensors, state)[:, 0].reshape(-1, 50)
        top = np.take_along_axis(relevance[fresh].reshape(-1, 50), np.argsort(-score, 1)[:, :5], 1)
        print(f"int8, {'distilled' if distil else 'baseline'}: recall@5 {top.sum() / relevance[fresh].sum():.3f}")
    sys.exit()
else:
    sys.exit("give digits, clinc150 or candidates")

fitted = fit_classifier(
    examples,
    validation,
    settings=settings,
    checkpoint=out.with_name(f"{out.name}.training"),  # killed? run it again: it goes on where it was
    progress=lambda step: print(step, file=sys.stderr),
)
Console(width=140).print(training_table(fitted.phases))
print(fitted.chosen_because)
out.write_bytes(fitted.artifact)
print(f"{out}: {len(fitted.artifact):,} bytes, {fitted.model}")
