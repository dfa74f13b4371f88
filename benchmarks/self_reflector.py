"""A small model as its own reflector: are its replies usable, and do they help?

    python benchmarks/self_reflector.py                                # both parts; call again to continue
    python benchmarks/self_reflector.py --parts replies --replies 4    # a short check
    python benchmarks/self_reflector.py --parts evolve --seeds 0,1,2 --device cuda
    python benchmarks/self_reflector.py --table

SmolLM2-135M-Instruct on the sums and the format of the recipe ``smollm2`` (first the equation, then "The result is N"),
which it never writes on the bare prompt. Needs what the recipe needs.

``replies``: questions to the model as an evolution asks them (three rollouts of the parent; every second parent is
"Think step by step."), with the long prompt and with the short one. A reply is *usable* if a template can be read from
it that is not its parent, holds no control token and no answer, and is not too long.

``evolve``: an evolution of the recipe's budget for each seed, the model being its own reflector (race, patience 2,
the temperature of training). Told are the dev scores of the bare prompt and of the best template, and of both the
success on other sums.

What is in ``benchmarks/results/self-reflector.json`` (``--out``) is kept; evolutions continue from their journals in
``--work``. Further words are keys of the recipe.
"""

from __future__ import annotations

import argparse
import json
import os
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent / "results" / "self-reflector.json"
PARENTS = ("", "Think step by step.")
PROMPTS = ("full", "short")
KEYS = ("--evolve_search", "race", "--evolve_patience", "2", "--evolve_temperature", "0.7")
"""Greedy rollouts fail here even under the form itself as template (0 of 16): the temperature is that of training."""
CHUNK = 8
"""Replies between two writes of the result."""


class Laboratory:
    """The recipe with its policy as reflector."""

    def __init__(self, words: Sequence[str]) -> None:
        from p2o.runs.building import rewards_of, samples_of
        from p2o.runs.fixed_policy import fixed_policy
        from p2o.runs.recipe import load_recipe

        recipe = load_recipe("smollm2", [*KEYS, *words])
        self.training = recipe.training
        self.fixed = fixed_policy(recipe, str(recipe.model.model_name_or_path), rewards_of(recipe))
        self.samples = {s.id: s for s in samples_of(recipe, "train")}
        self.test = samples_of(recipe, "test")

    def parts(self, seed: int) -> tuple[list[Any], list[Any]]:
        """The train part and the dev part; all samples are hard."""
        from p2o.core.hard import split_hard

        ids = random.Random(seed).sample(list(self.samples), len(self.samples))
        train, dev = split_hard(ids, self.training.dev_size)
        return [self.samples[i] for i in train], [self.samples[i] for i in dev]

    def reflector(self, prompt: str) -> Any:
        """The policy as its own reflector, with the guard that every reflector has."""
        from p2o.reflectors.control_tokens import ControlGuard
        from p2o.reflectors.guard import guard_control_tokens

        self.training.reflect_prompt = prompt
        assert self.fixed.local is not None
        return guard_control_tokens(self.fixed.own_reflector(), ControlGuard(self.fixed.local.tokenizer))

    def jobs(self, first: int, last: int) -> list[Any]:
        """Jobs as an evolution makes them."""
        from p2o.core.evolve import ReflectionJob
        from p2o.core.evolve.prompt import reflection_prompt

        train, size = self.parts(0)[0], self.training.evolve_minibatch
        pairs = [(PARENTS[n % 2], s) for n in range(first, last) for s in random.Random(n).sample(train, size)]
        rollouts = self.fixed.roll_out(self.training.evolve_temperature)(pairs)
        rows = [(s.question, r.completion, r.feedback, r.reward) for (_, s), r in zip(pairs, rollouts, strict=True)]
        jobs = []
        for place, n in enumerate(range(first, last)):
            records = rows[place * size : (place + 1) * size]
            prompt, _ = reflection_prompt(PARENTS[n % 2], records, self.training.reflect_max_prompt_chars)
            jobs.append(ReflectionJob(PARENTS[n % 2], records, n, prompt))
        return jobs

    def replies(self, prompt: str, first: int, last: int) -> list[dict[str, Any]]:
        """Replies of the model, and what becomes of them ("" is usable)."""
        from p2o.core.evolve.leak import LeakConfig, LeakGuard
        from p2o.core.evolve.reading import read_reply

        guard = LeakGuard(list(self.samples.values()), LeakConfig())
        jobs = self.jobs(first, last)
        rows = []
        for job, reply in zip(jobs, self.reflector(prompt)(jobs), strict=True):
            row = {"parent": job.template, "text": reply.text, "fate": reply.error or "", "template": ""}
            if reply.text is not None:
                row["template"], row["fate"], _ = read_reply(reply.text, self.training.max_template_chars)
                if not row["fate"] and row["template"].casefold() == job.template.casefold():
                    row["fate"] = "repeated"
                if not row["fate"] and guard.refuse(row["template"]):
                    row["fate"] = "leak"
            rows.append({**row, "tokens": [reply.prompt_tokens, reply.completion_tokens]})
        return rows

    def evolution(self, prompt: str, seed: int, folder: Path, held_out: int) -> dict[str, Any]:
        """One evolution, and its best template on other sums."""
        from p2o.core.evolve import evolve
        from p2o.core.methods.evolving import evolve_config, pool_of

        train, dev = self.parts(seed)
        config = evolve_config(self.training, self.training.num_generations, seed)
        e = evolve(train, dev, self.fixed.evolving(), self.reflector(prompt), config, folder)
        means = [sum(row) / len(row) for row in e.scores_CV]
        best = max(range(len(means)), key=lambda c: means[c])
        roll_out, test = self.fixed.roll_out(self.training.evolve_temperature), self.test[:held_out]
        solved = [r.solved for r in roll_out([(t, s) for t in ("", e.templates[best]) for s in test])]
        return {
            "prompt": prompt, "seed": seed, "dev": len(dev), "bare": means[e.templates.index("")], "best": means[best],
            "template": e.templates[best], "pool": [t.text for t in pool_of(e, self.training)], "fates": e.fates,
            "rollouts": e.cost.metric_calls, "stopped": e.stopped, "held out": len(test),
            "held-out bare": sum(solved[: len(test)]), "held-out best": sum(solved[len(test) :]),
        }  # fmt: skip


def save(found: dict[str, Any], path: Path) -> None:
    rows = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in found.items()]
    path.write_text("{" + ",\n".join(rows) + "}\n", encoding="utf-8")


def measure(args: argparse.Namespace, words: Sequence[str]) -> None:
    """Makes what is not in the result yet."""
    found: dict[str, Any] = json.loads(args.out.read_text()) if args.out.exists() else {}
    laboratory = Laboratory(words)
    if "replies" in args.parts:
        for prompt in args.prompts:
            rows = found.setdefault(f"replies {prompt}", [])
            while len(rows) < args.replies:
                rows += laboratory.replies(prompt, len(rows), min(len(rows) + CHUNK, args.replies))
                save(found, args.out)
    if "evolve" in args.parts:
        for seed in args.seeds:
            for prompt in args.prompts:
                if (key := f"evolve {prompt} {seed}") not in found:
                    folder = args.work / key.replace(" ", "-")
                    found[key] = laboratory.evolution(prompt, seed, folder, args.held_out)
                    save(found, args.out)


def report(path: Path, show: int) -> str:
    """The result as markdown."""
    from p2o.analysis.statistics import wilson_interval
    from p2o.base.markdown import fenced, table

    found: dict[str, Any] = json.loads(path.read_text())
    told, shown, evolutions = [], [], []
    for key, value in found.items():
        if key.startswith("replies"):
            fates = Counter(row["fate"] for row in value)
            usable = fates.pop("", 0)
            low, high = wilson_interval(usable, len(value))
            distinct = len({row["template"] for row in value if not row["fate"]})
            lost = ", ".join(f"{n} {fate}" for fate, n in fates.most_common()) or "–"
            told.append([key.split()[1], len(value), f"{usable} ({usable / len(value):.0%} [{low:.0%}, {high:.0%}])",
                         distinct, lost])  # fmt: skip
            for row in value[:show]:
                shown.append(f"{key.split()[1]}, {row['fate'] or 'usable'}:\n{fenced(row['text'] or '')}")
        else:
            n = value["held out"]
            evolutions.append([
                value["prompt"], value["seed"], f"{value['bare']:.1%}", f"{value['best']:.1%}", value["rollouts"],
                f"{value['held-out bare'] / n:.1%}", f"{value['held-out best'] / n:.1%}",
            ])  # fmt: skip
            shown.append(f"best of seed {value['seed']} ({value['prompt']}):\n{fenced(value['template'])}")
    parts = [table(["prompt", "replies", "usable", "different ones", "not usable"], told) if told else ""]
    if evolutions:
        head = ["prompt", "seed", "dev, bare", "dev, best template", "rollouts", "held out, bare", "held out, best"]
        parts.append(table(head, evolutions))
    return "\n\n".join(filter(None, [*parts, *shown]))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)

    def words(text: str) -> list[str]:
        return text.split(",")

    parser.add_argument("--parts", type=words, default=["replies", "evolve"])
    parser.add_argument("--prompts", type=words, default=list(PROMPTS), help="full, short")
    parser.add_argument("--replies", type=int, default=64)
    parser.add_argument("--seeds", type=lambda text: [int(n) for n in text.split(",")], default=[0, 1, 2])
    parser.add_argument("--held-out", type=int, default=64, help="other sums on which the best template is scored")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--work", type=Path, default=Path("runs/self-reflector"))
    parser.add_argument("--show", type=int, default=4, help="replies to print of each prompt")
    parser.add_argument("--table", action="store_true", help="print the result and measure nothing")
    args, more = parser.parse_known_args()
    if args.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif args.device == "cuda":
        import torch

        assert torch.cuda.is_available(), "no CUDA device"
    if not args.table:
        measure(args, more)
    print(report(args.out, args.show))


if __name__ == "__main__":
    main()
