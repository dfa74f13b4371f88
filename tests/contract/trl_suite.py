"""Runs TRL's own GRPO tests twice: with TRL's GRPOTrainer, and with P2OTrainer in its place.

    python tests/contract/trl_suite.py --trl CHECKOUT [--out results.json] [-k EXPRESSION]

CHECKOUT is a folder with TRL's ``tests`` (a git checkout of a tag near the installed version); nothing of it is
copied, and the installed TRL is the one that runs. Models and data sets are stand-ins of the same names
(`tests/support/stand_in_hub.py`), so no network is needed. Tests with tools need the package jmespath.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SUPPORT = HERE.parent / "support"
sys.path[:0] = [str(HERE), str(SUPPORT)]

from trl_refusals import DIFFERENT, REFUSED, Known  # noqa: E402

from stand_in_hub import build_hub  # noqa: E402

ARMS = ("trl", "p2o", "p2o-config")


def main() -> int:
    """0 when all tests that pass with TRL pass with P2OTrainer, or end as is documented; else 1."""
    options = arguments()
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        outcomes = {arm: run(arm, options, work) for arm in ("trl", options.arm)}
    results = compare(outcomes["trl"], outcomes[options.arm])
    if options.out:
        options.out.write_text(json.dumps(results, indent=1), encoding="utf-8")
    print(summary(results))
    return 1 if results["failed"] else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    named = os.environ.get("P2O_TRL_CHECKOUT")
    parser.add_argument("--trl", type=Path, default=named, required=named is None, metavar="CHECKOUT")
    parser.add_argument("--file", default="tests/test_grpo_trainer.py", help="the test file in CHECKOUT")
    parser.add_argument("--out", type=Path, help="JSON file for all outcomes")
    parser.add_argument("--work", type=Path, help="keep the stand-ins and the outcomes of each arm here")
    parser.add_argument("--arm", choices=ARMS[1:], default="p2o", help="p2o-config: P2OConfig for GRPOConfig too")
    parser.add_argument("--seconds", type=int, default=300, help="limit of one test")
    parser.add_argument("-k", dest="chosen", default="", help="pytest's -k: only these tests")
    return parser.parse_args()


def run(arm: str, options: argparse.Namespace, work: Path) -> dict[str, dict[str, Any]]:
    """Outcomes of one arm, by the name of the test."""
    print(f"== {arm}", flush=True)
    build_hub(work / "hub")
    out = work / f"{arm}.jsonl"
    out.unlink(missing_ok=True)
    (work / "pytest.ini").write_text("[pytest]\nmarkers =\n    slow: TRL's own mark\n")
    environment = {
        **os.environ,
        "P2O_SUITE_ARM": arm,
        "P2O_SUITE_DATA": str(work / "data"),
        "P2O_SUITE_OUT": str(out),
        "P2O_SUITE_SECONDS": str(options.seconds),
        "PYTHONPATH": os.pathsep.join([str(HERE), str(SUPPORT), os.environ.get("PYTHONPATH", "")]),
        "HF_HOME": str(work / "home"),
        "HF_HUB_CACHE": str(work / "hub"),
        "HF_HUB_OFFLINE": "1",
    }
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "trl_plugin", "-p", "no:cacheprovider", "-n", "0",
        "-c", str(work / "pytest.ini"), "--rootdir", str(options.trl), "-k", options.chosen,
        "--basetemp", str(work / "tmp"), "--tb", "line", str(options.trl / options.file),
    ]  # fmt: skip
    done = subprocess.run(command, env=environment, cwd=work, check=False, stdout=sys.stderr)
    if done.returncode not in (0, 1):  # killed, or nothing could be collected: no figures of a part of the tests
        raise SystemExit(f"pytest ended with {done.returncode} in the run with {arm}; see its output")
    lines = out.read_text(encoding="utf-8").splitlines()
    return {line["test"]: line for line in map(json.loads, lines)}


def compare(with_trl: dict[str, dict[str, Any]], with_p2o: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Sorts the tests that pass with TRL by what they do with P2OTrainer."""
    passing = [name for name, line in with_trl.items() if line["outcome"] == "passed"]
    kinds: dict[str, list[Any]] = {"passed": [], "refused": [], "different": [], "failed": []}
    for name in passing:
        line = with_p2o.get(name, {"outcome": "not run", "error": "", "where": []})
        kind, cause = "passed" if line["outcome"] == "passed" else "failed", line["error"]
        for known_kind, known in (("refused", REFUSED), ("different", DIFFERENT)):
            if kind == "failed" and (reason := known_reason(name, line["error"], known)):
                kind, cause = known_kind, reason
        kinds[kind].append({"test": name, "cause": cause, "where": line["where"][-3:]})
    others = {name: line for name, line in with_trl.items() if line["outcome"] != "passed"}
    return {"pass_with_trl": len(passing), **kinds, "not_passing_with_trl": others}


def known_reason(name: str, error: str, known: Sequence[Known]) -> str | None:
    """Why this test is known to fail, when it fails in the way that is known."""
    function = name.partition("[")[0].rpartition("::")[2]
    return next((case.reason for case in known if function in case.tests and case.sentence in error), None)


def summary(results: dict[str, Any]) -> str:
    others = Counter(line["outcome"] for line in results["not_passing_with_trl"].values())
    lines = [
        f"{results['pass_with_trl']} tests pass with TRL ({others['skipped']} skipped, {others['failed']} fail); of "
        f"these, with P2OTrainer: {len(results['passed'])} pass, {len(results['refused'])} are refused as documented, "
        f"{len(results['different'])} differ as documented, {len(results['failed'])} fail"
    ]
    for kind in ("refused", "different"):
        for reason, count in Counter(entry["cause"] for entry in results[kind]).items():
            lines.append(f"  {kind} ({count}): {reason}")
    for entry in results["failed"]:
        lines += [f"  failed: {entry['test']}", f"    {entry['cause'][:300]}"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
