"""The world `rare`: what an evolution finds there, against as many random rollouts; figures of the pools.

    python benchmarks/rare.py --seeds 5
    python benchmarks/rare.py --seeds 5 --simulated --out benchmarks/results/rare-pools-simulated.json
    python benchmarks/rare.py --seeds 5 --report

For each seed the starting policy's templates are evolved on the same split (all training questions are hard) in two
ways, and against them stand random ones. Each pool is then measured on the dev part with fresh rollouts at temperature
1:

    transfer   the recipe: rewards weigh what carries over to the bare prompt
    success    the paper's worth of a template
    random     as many rollouts on random proposals, each scored on the whole dev part; the greedy cover of them
    unselected sixteen random proposals (the arm `rare_random`)

*dev success* is the mean over the dev samples of the success of K rollouts under the templates that each is assigned,
*covered* the share of dev samples that some template of the pool solves greedily, *carried* dev success times what
carries over to the bare prompt. Results that are in the file already are kept, so that a run can be split.

With ``--simulated`` the choices are drawn with the probabilities that the policy was taught, instead of by the policy:
five seeds take minutes. More settings follow as in ``p2o evolve``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from p2o.base.markdown import table
from p2o.core.evolve import ReflectionJob, evolve
from p2o.core.hard import split_hard
from p2o.core.methods.evolving import evolve_config, pool_of
from p2o.core.samples import Rollout, Sample
from p2o.core.templates import PoolTemplate, assign, make_pool
from p2o.core.transfer import TemplateWorth
from p2o.reflectors.phrases import PhrasesReflector
from p2o.rewards.rules import last_number
from p2o.runs.building import rewards_of, samples_of
from p2o.runs.fixed_policy import fixed_policy
from p2o.runs.recipe import Recipe, load_recipe

HERE = Path(__file__).parent
LABORATORY = HERE.parent / "tools" / "sandbox"
RESULT = HERE / "results" / "rare-pools.json"
WAYS = ("transfer", "success", "random", "unselected")
UNSELECTED = 16
Pairs = Sequence[tuple[str, Sample]]


class Policy(Protocol):
    def roll_out(self, pairs: Pairs, temperature: float, worth: TemplateWorth) -> list[Rollout]:
        """Scored rollouts; rewards are what ``worth`` says."""


class Real:
    """The shipped policy."""

    def __init__(self, recipe: Recipe) -> None:
        self.fixed = fixed_policy(recipe, str(recipe.model.model_name_or_path), rewards_of(recipe))

    def roll_out(self, pairs: Pairs, temperature: float, worth: TemplateWorth) -> list[Rollout]:
        self.fixed.recipe.training.template_worth = worth
        return self.fixed.evolving(temperature)(pairs)


class Simulated:
    """The choices as they were taught (`tools/sandbox/rare_world.py`)."""

    def __init__(self, seed: int) -> None:
        sys.path.insert(0, str(LABORATORY))
        import pretrain_rare
        import rare_phrases
        import rare_world

        self.world, self.bare, self.seed = rare_world, pretrain_rare.BARE, seed
        self.questions = {q.text: q for part in pretrain_rare.make_questions().values() for q in part}
        self.choice_of = {phrase: choice for choice, group in rare_phrases.PHRASES.items() for phrase in group}
        self.rng = random.Random(seed)

    def roll_out(self, pairs: Pairs, temperature: float, worth: TemplateWorth) -> list[Rollout]:
        return [self._one(template, sample, temperature, worth) for template, sample in pairs]

    def _one(self, template: str, sample: Sample, temperature: float, worth: TemplateWorth) -> Rollout:
        key = hashlib.sha256(f"{self.seed}:{template}:{sample.id}".encode()).digest()
        rng = self.rng if temperature else random.Random(key)
        asked = {choice for phrase, choice in self.choice_of.items() if phrase in template}
        forks = [self.world.Fork(0, choice, "", "") for choice in self.world.CHOICES]
        chances = {f.choice: self.world.likely(f, asked, self.bare) for f in forks}
        if not temperature:
            chances = {choice: 0.5 if p == 0.5 else float(p > 0.5) for choice, p in chances.items()}
        made = {choice for choice, p in chances.items() if rng.random() < p}
        made |= {"row"} if rng.random() < chances["table"] ** 2 else set()
        question = self.questions[sample.question]
        answer = self.world.answer(question, made)
        solved = last_number(answer.text) == question.right
        rows = sum(f.choice == "table" and answer.text[f.at] == "|" for f in answer.forks)
        low = math.log(0.01)
        steps = round(rows * max(0.0, low - math.log(self.world.TABLE)) / -low)
        return Rollout("", solved * (math.exp(-steps) if worth == "transfer" else 1.0), solved, "Wrong.")


def parts_of(recipe: Recipe, seed: int) -> tuple[list[Sample], list[Sample]]:
    by_id = {s.id: s for s in samples_of(recipe, "train")}
    ids = list(by_id)
    random.Random(seed).shuffle(ids)
    train, dev = split_hard(ids, recipe.training.dev_size)
    return [by_id[i] for i in train], [by_id[i] for i in dev]


def reflector_of(recipe: Recipe) -> PhrasesReflector:
    return PhrasesReflector(recipe.task.reflector_phrases, recipe.task.reflector_max_phrases)


def proposals(recipe: Recipe, seed: int, count: int) -> list[str]:
    rng, reflector = random.Random(seed), reflector_of(recipe)
    return [reflector.propose(ReflectionJob("", (), rng.getrandbits(32), "")) for _ in range(count)]


def evolved(policy: Policy, recipe: Recipe, worth: TemplateWorth, seed: int) -> tuple[list[PoolTemplate], int]:
    """(pool, rollouts)."""
    train, dev = parts_of(recipe, seed)
    settings = recipe.training
    settings.template_worth = worth

    def roll_out(pairs: Pairs) -> list[Rollout]:
        return policy.roll_out(pairs, settings.evolve_temperature, worth)

    with tempfile.TemporaryDirectory() as folder:
        config = evolve_config(settings, settings.num_generations, seed)
        evolution = evolve(train, dev, roll_out, reflector_of(recipe), config, Path(folder))
    return pool_of(evolution, settings), evolution.cost.metric_calls


def random_pool(policy: Policy, recipe: Recipe, seed: int, rollouts: int) -> list[PoolTemplate]:
    """The cover of as many random proposals as the rollouts pay for."""
    _, dev = parts_of(recipe, seed)
    texts = proposals(recipe, seed, rollouts // len(dev))
    drawn = policy.roll_out([(text, s) for text in texts for s in dev], 0.0, "success")
    solved_CV = [[r.solved for r in drawn[n * len(dev) : (n + 1) * len(dev)]] for n in range(len(texts))]
    return make_pool(texts, [[float(s) for s in row] for row in solved_CV], solved_CV, [s.id for s in dev])


def measured(policy: Policy, recipe: Recipe, pool: Sequence[PoolTemplate], seed: int) -> dict[str, float]:
    """Dev success, covered and carried of a pool."""
    _, dev = parts_of(recipe, seed)
    slots, temperature = recipe.training.num_generations, recipe.training.temperature
    assigned = assign([s.id for s in dev], pool, slots, random.Random(seed))
    pairs = [(t, s) for s in dev for t in assigned.get(s.id, [""] * slots)]
    drawn = policy.roll_out(pairs, temperature, "transfer")
    greedy = policy.roll_out([(t.text, s) for t in pool for s in dev], 0.0, "success")
    covered = [any(r.solved for r in greedy[v :: len(dev)]) for v in range(len(dev))]
    return {
        "dev success": sum(r.solved for r in drawn) / len(pairs),
        "covered": sum(covered) / len(dev),
        "carried": sum(r.reward for r in drawn) / len(pairs),
    }


def one(policy: Policy, recipe: Recipe, way: str, seed: int, found: dict[str, Any]) -> dict[str, Any]:
    rollouts = 0
    if way == "transfer" or way == "success":
        pool, rollouts = evolved(policy, recipe, way, seed)
    elif way == "random":
        rollouts = found[f"success {seed}"]["rollouts"]
        pool = random_pool(policy, recipe, seed, rollouts)
    else:
        texts = proposals(recipe, seed, UNSELECTED)
        pool = [PoolTemplate(text, 1.0, frozenset(), scored=False) for text in texts]
    figures = measured(policy, recipe, pool, seed)
    return {"way": way, "seed": seed, "rollouts": rollouts, **figures, "pool": [t.text for t in pool]}


def report(found: dict[str, Any]) -> str:
    rows = []
    for way in WAYS:
        own = [row for row in found.values() if row["way"] == way]
        if own:
            figures = [
                f"{sum(r[n] for r in own) / len(own):.1%} ({min(r[n] for r in own):.1%}–{max(r[n] for r in own):.1%})"
                for n in ("dev success", "covered", "carried")
            ]
            rows.append([way, str(len(own)), *figures, f"{sum(r['rollouts'] for r in own) / len(own):,.0f}"])
    return table(["pool", "seeds", "dev success (worst–best)", "covered", "carried", "rollouts"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--ways", default=",".join(WAYS), help="comma-separated; random comes after success")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--simulated", action="store_true", help="the taught probabilities in place of the policy")
    parser.add_argument("--report", action="store_true", help="only print what is in the file")
    args, words = parser.parse_known_args()
    found: dict[str, Any] = json.loads(args.out.read_text()) if args.out.exists() else {}
    recipe = load_recipe("rare", words)
    for seed in range(0 if args.report else args.seeds):
        policy: Policy | None = None
        for way in args.ways.split(","):
            if f"{way} {seed}" not in found:
                policy = policy or (Simulated(seed) if args.simulated else Real(recipe))
                found[f"{way} {seed}"] = row = one(policy, recipe, way, seed, found)
                args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
                print({k: v for k, v in row.items() if k != "pool"}, flush=True)
    print(report(found))


if __name__ == "__main__":
    main()
