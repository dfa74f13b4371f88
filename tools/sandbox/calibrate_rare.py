"""Measures the policy of the world `rare`, prints and writes the figures.

Shell::

    python tools/sandbox/calibrate_rare.py
"""

from __future__ import annotations

import argparse
import json
import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch
from calibrate import Policy, Row, is_right, spread
from pretrain_rare import FOLDER, make_questions
from rare_phrases import PHRASE_BANK, PHRASES, USELESS
from rare_world import Question, answer, needs

from p2o.core.evolve import ReflectionJob
from p2o.reflectors.phrases import PhrasesReflector

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "sandbox-rare-calibration.json"
Forced = tuple[dict[str, list[float]], float, bool]


def row_of(question: Question) -> Row:
    return {"prompt": question.text, "answer": question.right}


@torch.inference_mode()
def forced(policy: Policy, template: str, question: Question, choices: Sequence[str]) -> Forced:
    """The answer of these choices, teacher-forced: the probability of each choice made in it, that of the whole answer,
    and whether greedy decoding gets all but the choices right."""
    right = answer(question, choices)
    prompt = policy.encode(template, row_of(question))
    target = [*policy.tokenizer(right.text)["input_ids"], policy.tokenizer.eos_token_id]
    logits_TV = policy.model(input_ids=torch.tensor([prompt + target])).logits[0]
    logps_TV = logits_TV[len(prompt) - 1 : -1].log_softmax(-1)
    target_T = torch.tensor(target)
    logps_T = logps_TV.gather(1, target_T[:, None])[:, 0]
    made = defaultdict(list)
    for fork in right.forks:
        if right.text[fork.at] == fork.made:
            made[fork.choice].append(logps_T[fork.at].exp().item())
    wrong = set((logps_TV.argmax(-1) != target_T).nonzero()[:, 0].tolist())
    return dict(made), logps_T.sum().exp().item(), not (wrong - {f.at for f in right.forks})


def choices_of(found: Sequence[Forced]) -> dict[str, dict[str, float]]:
    together: dict[str, list[float]] = defaultdict(list)
    for made, *_ in found:
        for choice, chances in made.items():
            together[choice] += chances
    return {
        choice: {k: round(v, 8) for k, v in spread([1e6 * c for c in chances]).items()}
        for choice, chances in together.items()
    }


def measure(policy: Policy, rollouts: int, proposals: int, seed: int) -> dict[str, object]:
    rng = random.Random(seed)
    files = make_questions()
    test, dev, everything = files["test"], files["dev"], [q for part in files.values() for q in part]

    def template(choices: Sequence[str], useless: int = 0) -> str:
        phrases = [rng.choice(PHRASES[c]) for c in choices] + rng.sample(USELESS, useless)
        rng.shuffle(phrases)
        return " ".join(phrases)

    def success(pairs: Sequence[tuple[str, Question]]) -> dict[str, dict[str, float]]:
        rows = [(t, row_of(q)) for t, q in pairs]
        figures: dict[str, dict[str, float]] = {}
        for name, greedy in (("temperature_1", False), ("greedy", True)):
            right: dict[str, list[bool]] = defaultdict(list)
            for (_, question), (_, row), text in zip(pairs, rows, policy.answers(rows, greedy), strict=True):
                for group in ("all", question.kind, f"needs {len(needs(question))}"):
                    right[group].append(is_right(row, text))
            figures[name] = {group: round(sum(own) / len(own), 4) for group, own in sorted(right.items())}
        return figures

    line = [forced(policy, "", q, needs(q)) for q in everything]
    sums = [q for q in test if q.kind != "root"]
    table = ("work", "table", "row", "finish")
    bare_table = [forced(policy, "", q, table) for q in sums]
    told = [forced(policy, template(needs(q)), q, needs(q)) for q in test]
    told_table = [forced(policy, template(("work", "table", "finish")), q, table) for q in sums]
    bare = [("", everything[n % len(everything)]) for n in range(rollouts)]
    texts = policy.answers([(t, row_of(q)) for t, q in bare], greedy=False)
    reflector = PhrasesReflector(PHRASE_BANK, 8)
    drawn = [reflector.propose(ReflectionJob("", (), rng.getrandbits(32), "")) for _ in range(proposals)]
    pairs = [(t, row_of(q)) for t in drawn for q in dev]
    solved = [is_right(row, text) for (_, row), text in zip(pairs, policy.answers(pairs, greedy=True), strict=True)]
    shares = [sum(solved[n * len(dev) : (n + 1) * len(dev)]) / len(dev) for n in range(proposals)]
    return {
        "bare": {
            "rollouts": rollouts,
            "right": sum(is_right(row_of(q), text) for (_, q), text in zip(bare, texts, strict=True)),
            "percent_right_by_probability": spread([100 * p for _, p, _ in line]),
            "greedy_right_if_the_choices_were_made": sum(ok for *_, ok in line) / len(line),
        },
        "choices bare, millionths": choices_of(line) | {"table": choices_of(bare_table)["table"]},
        "choices told, millionths": choices_of(told) | {"table": choices_of(told_table)["table"]},
        "all that is needed": success([(template(needs(q)), q) for q in test]),
        "all that is needed and 4 useless": success([(template(needs(q), 4), q) for q in test]),
        "the table": success([(template(("work", "table", "finish")), q) for q in test]),
        "from the last": success([(template(("work", "right", "running", "again", "finish")), q) for q in test]),
        "from the first": success([(template(("work", "left", "running", "again", "finish")), q) for q in test]),
        "work and finish": success([(template(("work", "finish")), q) for q in test]),
        "useless only": success([(template((), 4), q) for q in test]),
        "random proposals": {
            "proposals": proposals,
            "dev share solved": round(sum(shares) / proposals, 5),
            "solve at least one": sum(share > 0 for share in shares) / proposals,
            "best": max(shares),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--policy", type=Path, default=FOLDER / "policy")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--rollouts", type=int, default=20_000, help="bare rollouts at temperature 1")
    parser.add_argument("--proposals", type=int, default=200, help="random proposals, on the dev part")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    text = json.dumps(measure(Policy(args.policy, args.seed), args.rollouts, args.proposals, args.seed), indent=2)
    print(text)
    args.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
