"""Is there a task on which a prompt helps SmolLM2 for another reason than the format, and GRPO has nothing at first?

    python benchmarks/smollm2_second_task.py        # about 8 minutes on one core; prints a table

Small tasks of reasoning-gym, asked bare and under three worked examples, ``DRAWS`` rollouts each at temperature 0.7. An
answer counts as right when it holds the gold answer as a word of its own, whatever its format: so what the examples add
here is no format. P²O can be ahead of GRPO where bare groups of four all fail, and some succeed under the prompt.
Writes ``benchmarks/results/smollm2-second-task.json``.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from p2o.base.markdown import table
from p2o.core.samples import Sample
from p2o.core.templates import apply_template
from p2o.data import load_samples
from p2o.generation.local import ModelSource, load_policy
from p2o.generation.policies import Policy
from p2o.generation.settings import GenerationSettings

RESULT = Path(__file__).parent / "results" / "smollm2-second-task.json"
TASKS = {
    "letter_counting": "min_words=2&max_words=3",
    "count_bits": "max_n=31",
    "leg_counting": "min_animals=1&max_animals=2&max_instances=3",
    "spell_backward": "min_word_len=3&max_word_len=4",
    "gcd": "min_numbers=2&max_numbers=2&min_value=1&max_value=20",
    "chain_sum": "min_terms=3&max_terms=3&min_digits=1&max_digits=1",
    "products": "min_terms=2&max_terms=2&min_digits=1&max_digits=1",
}
"""Generator of reasoning-gym → its options."""
QUESTIONS, DRAWS, SHOTS, TOKENS = 16, 4, 3, 48


def is_in(answer: str, text: str) -> bool:
    """Whether a text holds the answer as a word or number of its own."""
    return re.search(rf"(?<![\w.-]){re.escape(answer)}(?!\w|\.\d)", text) is not None


def solved(policy: Policy, template: str, samples: list[Sample]) -> list[int]:
    """Right ones of the DRAWS rollouts of each sample."""
    prompts = [apply_template(template, sample.messages) for sample in samples for _ in range(DRAWS)]
    texts = [completion.text for completion in policy.complete(prompts, 0.7)]
    right = [is_in(str(samples[n // DRAWS].answer), text) for n, text in enumerate(texts)]
    return [sum(right[n : n + DRAWS]) for n in range(0, len(right), DRAWS)]


def measure(policy: Policy, task: str) -> dict[str, Any]:
    """One task's figures."""
    samples = load_samples(f"reasoning_gym:{task}?{TASKS[task]}&size={QUESTIONS + SHOTS}&seed=5")
    shown, asked = samples[:SHOTS], samples[SHOTS:]
    examples = "\n\n".join(f"{sample.question}\n{sample.answer}" for sample in shown)
    bare = solved(policy, "", asked)
    templated = solved(policy, f"Answer as in these examples:\n{examples}", asked)
    rollouts = len(asked) * DRAWS
    return {
        "task": task,
        "bare": sum(bare) / rollouts,
        "templated": sum(templated) / rollouts,
        "all_failed": sum(n == 0 for n in bare) / len(asked),
        "rescued": sum(b == 0 < t for b, t in zip(bare, templated, strict=True)) / len(asked),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tasks", default=",".join(TASKS))
    args = parser.parse_args()
    policy = load_policy(ModelSource("builtin:smollm2"), GenerationSettings(TOKENS, batch_size=32))
    rows = []
    for task in args.tasks.split(","):
        rows.append(measure(policy, task))
        print(rows[-1], flush=True)
    RESULT.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    names = ["task", "bare", "under three examples", "groups that all failed bare", "rescued, of all groups"]
    cells = [[r["task"], *(f"{r[k]:.0%}" for k in ("bare", "templated", "all_failed", "rescued"))] for r in rows]
    print(table(names, cells))


if __name__ == "__main__":
    main()
