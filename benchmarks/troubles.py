"""Provokes the cases of docs/troubleshooting.md, each with one short run, and writes what the run said into that page.

    python benchmarks/troubles.py [CASE …]

The first block of each section is the command and what it printed. A run is ended when it has said it. All of them take
some four minutes on two cores.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "troubleshooting.md"
SMALL = "--max_train_samples 80 --eval_strategy no"
RUNS = {
    "teacher": f"quickstart {SMALL} --reflector openai --reflector_model m --reflector_base_url http://127.0.0.1:9/v1"
    " --reflector_retries 0",
    "empty_pool": "quickstart --max_train_samples 32 --num_train_epochs 2 --hard_min_count 8 --dev_size 8"
    " --evolve_budget 60 --evolve_max_iterations 1 --test_draws 2 --max_completion_length 24",
    "few_hard": f"quickstart {SMALL} --hard_min_count 100",
    "flat": f"quickstart {SMALL} --method grpo",
    "cut": f"quickstart {SMALL} --max_completion_length 3",
    "forgotten": f"quickstart {SMALL} --scale_steps false --pull 0 --learning_rate 1e-3",
    "solved": f"quickstart {SMALL} --train builtin:sandbox/easy",
    "partial": f"quickstart {SMALL} --train builtin:sandbox/easy --temperature 1.5 --rewards half.py:score",
    "masked": f"switch {SMALL} --distillation mask",
    "slow": f"quickstart {SMALL} --num_train_epochs 3 --learning_rate 1e-6",
}
"""Case → the words behind ``p2o train``."""
HALF = """def score(completions, answer, **columns):
    return [0.5 * (text[0]["content"].split()[-1:] == [total]) for text, total in zip(completions, answer)]
"""
"""A reward of half a point at most, in the file ``half.py``."""
SAID = {
    "teacher": "the reflector failed",
    "empty_pool": "candidates solved a hard sample",
    "few_hard": "templates are evolved for",
    "flat": "no template is in use",
    "cut": "are cut at",
    "forgotten": "are forgotten",
    "solved": "there is little left to learn",
    "partial": "the rewards are partial",
    "masked": "samples were rescued in this epoch",
    "slow": "samples were rescued in this epoch",
}
"""Case → a part of what is said."""


def finding_of(case: str) -> list[str]:
    """The lines that the run of a case prints about it: what happened, the next step, its command.

    Raises:
        SystemExit: the run ends without them.
    """
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "half.py").write_text(HALF, encoding="utf-8")
        command = [sys.executable, "-m", "p2o", "train", *shlex.split(RUNS[case])]
        run = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert run.stdout is not None
        printed: list[str] = []
        start: int | None = None
        for line in run.stdout:
            printed.append(line.rstrip())
            if start is None and SAID[case] in line:
                start = len(printed) - 1
            if start is not None and len(printed) == start + 3:
                run.kill()
                run.wait()
                lines = printed[start:]
                return lines if lines[2].startswith("  p2o ") else lines[:2]
        run.wait()
        raise SystemExit(f"{case}: the run did not say it\n" + "\n".join(printed[-40:]))


def with_block(page: str, case: str, lines: list[str]) -> str:
    """The page with these lines as the first block of a case's section, in place of one that is there."""
    block = "\n".join(f"    {line}" for line in lines) + "\n\n"
    section = rf'(<a id="{case}"></a>\n## [^\n]+\n\n)(?:(?:    [^\n]*\n)+\n)?'
    new, count = re.subn(section, lambda match: match[1] + block, page)
    if count != 1:
        raise SystemExit(f"{case}: no section in {PAGE}")
    return new


if __name__ == "__main__":
    for wanted in sys.argv[1:] or RUNS:
        said = [f"$ p2o train {RUNS[wanted]}", *finding_of(wanted)]
        print("\n".join(said), flush=True)
        PAGE.write_text(with_block(PAGE.read_text(encoding="utf-8"), wanted, said), encoding="utf-8")
