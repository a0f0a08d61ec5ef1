"""Run every situation of the field against the gateway, and write down what came of each.

    python tools/gateway_situations.py            a few minutes; needs the scripts of ../shared/cases

The situations are tests with real servers; the page has a row for each, with the verdict of this run. Where the
scripts are missing, the tests that need them skip, and their rows say so.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference" / "gateway-situations.md"
TESTS = ROOT / "tests" / "integration" / "gateway"
# Whose tests are situations that users of gateways have reported, rather than properties of one part.
FILES = (
    "test_gateway_situations.py",
    "test_gateway_field.py",
    "test_gateway_reports.py",
    "test_gateway_clients_in_the_field.py",
    "test_gateway_filters.py",
    "test_gateway_prices.py",
    "test_gateway_provider.py",
    "test_gateway_secrets.py",
    "test_gateway_stream_options.py",
    "test_gateway_passing.py",
    "test_gateway_responses.py",
    "test_processes_money.py",
)
_CASE = re.compile(r"(\w+)(?:\[(.*)\])?")


def run(files: list[str]) -> ET.Element:
    """The tests' outcomes, as JUnit's XML."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *files]
        subprocess.run(command, cwd=ROOT, check=False)
        return ET.parse(report).getroot()


def verdict(case: ET.Element) -> str:
    """Right, wrong, or not tried."""
    for child in case:
        if child.tag in ("failure", "error"):
            return "wrong"
        if child.tag == "skipped":
            return "not tried"
    return "right"


def rows(report: ET.Element) -> dict[str, dict[str, list[tuple[str, str]]]]:
    """By file and by test: its cases, with what came of them."""
    found: dict[str, dict[str, list[tuple[str, str]]]] = {}
    for case in report.iter("testcase"):
        match = _CASE.fullmatch(case.get("name", ""))
        if match is not None:
            of_file = found.setdefault(case.get("classname", "").rpartition(".")[2], {})
            of_file.setdefault(match[1], []).append((match[2] or "", verdict(case)))
    return found


def page(found: dict[str, dict[str, list[tuple[str, str]]]]) -> str:
    """The table, in Markdown."""
    every = [came for tests in found.values() for cases in tests.values() for _, came in cases]
    lines = [
        "# Situations of the field",
        "",
        "What users of gateways have reported, tried against this one with real servers; written by",
        "`python tools/gateway_situations.py`.",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}: {len(every)} situations, {every.count('right')} right, "
        f"{every.count('wrong')} wrong, {every.count('not tried')} not tried.",
    ]
    for file, tests in sorted(found.items()):
        lines += ["", f"## `{file}.py`", "", "| what must hold | situations | verdict |", "|---|---|---|"]
        for name, cases in tests.items():
            words = name.removeprefix("test_").replace("_s_", "'s ").replace("_", " ")
            for came in ("wrong", "not tried", "right"):
                named = [case for case, each in cases if each == came]
                if named:
                    listed = ", ".join(f"`{each}`" for each in named if each) or "–"
                    lines.append(f"| {words} | {listed.replace('|', '¦')} | {came} ({len(named)}) |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs them, and writes the page; exit status 1 where one is wrong."""
    found = rows(run([str(TESTS / name) for name in FILES if (TESTS / name).is_file()]))
    PAGE.write_text(page(found), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)} is written")
    sys.exit(any(came == "wrong" for tests in found.values() for cases in tests.values() for _, came in cases))


if __name__ == "__main__":
    main()
