"""Training time and peak memory on 1,500 and 6,089 rows, each in a fresh process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import SHARED, write

CODE = """
import json, resource, time
import numpy as np
from tiny_dancer import fit, read_outcomes
start = time.perf_counter()
outcomes = read_outcomes({path!r})
outcomes = outcomes.rows(np.arange(min({rows}, len(outcomes))))
fitted = fit(outcomes)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({{"rows": len(outcomes), "seconds": round(time.perf_counter() - start, 1),
                   "peak_mib": round(peak), "artifact_bytes": len(fitted.artifact)}}))
"""


def main() -> None:
    """mmlu, a part and whole."""
    path = SHARED / "mmlu.parquet"
    if not path.exists():
        print(f"skipped: {path} is absent (set TINY_DANCER_SHARED)")
        return
    runs = []
    for rows in (1500, 6089):
        code = CODE.format(path=str(path), rows=rows)
        done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
        runs.append(json.loads(done.stdout))
    write("training", {"mmlu": runs}, "Targets: 1,500 rows ≤ 30 s, 6,089 rows ≤ 3 min, ≤ 2 GiB.")


if __name__ == "__main__":
    main()
