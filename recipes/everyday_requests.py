"""Requests that are none of anybody's routes: forms of our own filled with common words of WordNet.

    apt-get download wordnet-base; dpkg-deb -x wordnet-base*.deb wordnet
    python recipes/everyday_requests.py --wordnet wordnet/usr/share/wordnet

Routes are fitted beside them, as examples of what belongs to none (``training/routes/data.py``). Writes
``python/tiny_dancer/data/requests.txt``.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from static_encoder import requests

FILE = Path(__file__).parents[1] / "python" / "tiny_dancer" / "data" / "requests.txt"
DRAWN_FROM, COUNT = 20_000, 1500


def main() -> None:
    """Draws and writes them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wordnet", type=Path, required=True, help="folder with WordNet 3.0's cntlist.rev")
    found = requests(parser.parse_args().wordnet, DRAWN_FROM)
    drawn = random.Random(0).sample(found, COUNT)
    FILE.write_text("\n".join(drawn) + "\n", encoding="utf-8")
    print(f"{COUNT:,} requests into {FILE}")


if __name__ == "__main__":
    main()
