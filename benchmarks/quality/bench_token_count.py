"""Tokens of a prompt as the engine counts them, with its encoder and without, beside a tokeniser models bill by.

The encoder cuts word pieces. Without it each word, number and symbol counts as one token. Beside them the rule of
four bytes a token; all against OpenAI's cl100k_base, which LiteLLM carries.
"""

from __future__ import annotations

import base64
import os
import random
import sys
from importlib import util
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import ROOT, SHARED, write
from tiny_dancer import Router, _core

TABLES = {
    "mmlu": "prompt",
    "gsm8k": "prompt",
    "llmrouter": "prompt",
    "bfcl": "prompt",
    "zeroeval": "prompt",
    "shaberi": "prompt",
    "task_categories_train": "text",
    "clinc150_train": "text",
    "locomo_memories": "text",
}
ROWS = 400
WRITTEN = {
    "German": "Bitte erkläre mir, warum die Donau an manchen Stellen im Sommer versickert und wo das Wasser "
    "wieder zutage tritt.",
    "Finnish": "Selitä, miksi Tonava katoaa kesällä paikoin maan alle ja missä vesi tulee taas näkyviin.",
    "Russian": "Объясните, пожалуйста, почему Дунай летом местами уходит под землю и где вода снова появляется.",
    "Arabic": "يرجى شرح سبب تسرب نهر الدانوب إلى باطن الأرض في بعض الأماكن صيفا وأين تظهر المياه مرة أخرى.",
    "Hindi": "कृपया समझाइए कि गर्मियों में डेन्यूब नदी कुछ जगहों पर ज़मीन में क्यों समा जाती है और पानी फिर कहाँ निकलता है।",
    "Korean": "다뉴브강이 여름에 왜 어떤 곳에서 땅속으로 스며드는지, "
    "그리고 물이 어디에서 다시 나오는지 설명해 주세요.",
    "Chinese": "请解释一下为什么多瑙河在夏天有些地方会渗入地下，水又在哪里重新出现。",
    "emoji": "🙂🎉👨‍👩‍👧" * 20,
    "base64": base64.b64encode(random.Random(0).randbytes(3000)).decode(),
    "hexadecimal": random.Random(0).randbytes(2000).hex(),
    "letters without end": "abcdefghij" * 400,
}
"""What tables of English do not show: one text each, for what goes wrong altogether."""


def texts() -> dict[str, list[str]]:
    """Up to ROWS texts of each table, and source code of this repository."""
    from pyarrow import parquet

    found = {}
    for name, column in TABLES.items():
        rows = parquet.read_table(SHARED / f"{name}.parquet", columns=[column])[column].to_pylist()
        kept = sorted({row for row in rows if row and row.strip()})
        found[name] = random.Random(0).sample(kept, min(ROWS, len(kept)))
    for name, pattern in {"Python": "python/**/*.py", "Rust": "crates/**/*.rs"}.items():
        sources = sorted(ROOT.glob(pattern))[:200]
        found[f"{name} source"] = [
            each.read_text(encoding="utf-8")[:3000] for each in sources if each.stat().st_size
        ]
    return found | {f"one text: {name}": [text] for name, text in WRITTEN.items()}


def main() -> None:
    """Counts beside counts, table by table."""
    bundled = util.find_spec("litellm")
    if not SHARED.exists() or bundled is None or bundled.origin is None:
        print(f"skipped: {SHARED} or litellm is absent")
        return
    os.environ["TIKTOKEN_CACHE_DIR"] = str(Path(bundled.origin).parent / "litellm_core_utils" / "tokenizers")
    import tiktoken

    billed = tiktoken.get_encoding("cl100k_base")
    edge = Router.load("edge")
    figures: dict[str, object] = {}
    for name, rows in texts().items():
        true = np.array([len(billed.encode(row, disallowed_special=())) for row in rows], np.float64)
        counted = {
            "word pieces (with encoder)": _core.featurise(rows).tokens,
            "words, numbers, symbols (without)": edge.route_batch(rows).tokens,
            "bytes / 4": np.array([len(row.encode()) / 4 for row in rows]),
        }
        found: dict[str, object] = {"texts": len(rows)}
        for way, count in counted.items():
            error = np.abs(count - true) / true
            found[way] = {
                "bias of the total": round(float(count.sum() / true.sum() - 1), 3),
                "mean error": round(float(error.mean()), 3),
                "95th percentile": round(float(np.quantile(error, 0.95)), 3),
            }
        figures[name] = found
    write("token_count", figures, "Relative to cl100k_base's count of the same text; targets: none.")


if __name__ == "__main__":
    main()
