"""Measures the policy of the world with a calculator, prints and writes the figures.

Bare success is added up from the probabilities of the right conversation's tokens; success under templates is drawn,
with the tool loop that ``p2o eval`` uses.

Shell::

    python tools/sandbox/calibrate_tools.py
    python tools/sandbox/calibrate_tools.py --drawn 24
"""

from __future__ import annotations

import argparse
import json
import random
import re
from pathlib import Path

import torch
from calibrate import spread
from pretrain_tools import FOLDER, IDS
from tools_world import CHOICES, PHRASES, TOOL_LIST, conversation
from transformers import LlamaForCausalLM
from world import USELESS

from p2o.core.samples import Sample
from p2o.data import load_samples
from p2o.runs.building import rewards_of
from p2o.runs.fixed_policy import fixed_policy
from p2o.runs.recipe import load_recipe

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "sandbox-tools-calibration.json"


def forced(model: LlamaForCausalLM, template: str, sample: Sample) -> tuple[dict[str, float], float, bool]:
    """The right conversation, teacher-forced: each choice's probability given the earlier ones, that of all that the
    model writes, and whether greedy decoding gets all but the choices right."""
    a, b, c = (int(n) for n in re.findall(r"\d+", sample.question))
    text = f"{template}\n\n{sample.question}" if template else sample.question
    ids = [IDS[token] for token in [*TOOL_LIST, "<u>", *text, "<a>"]]
    written, forks = [], {}
    for part in conversation(a, b, c, CHOICES):
        if part.of_model:
            forks |= {len(ids) + at: choice for at, (choice, _, _) in part.forks.items()}
            written += list(range(len(ids), len(ids) + len(part.tokens)))
        ids += [IDS[token] for token in part.tokens]
    with torch.inference_mode():
        logps_TV = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    logp = {t: logps_TV[t - 1, ids[t]].item() for t in written}
    wrong = {t for t in written if int(logps_TV[t - 1].argmax()) != ids[t]} - forks.keys()
    choices = {choice: float(torch.tensor(logp[t]).exp()) for t, choice in forks.items()}
    return choices, float(torch.tensor(sum(logp.values())).exp()), not wrong


def measure(policy: Path, size: int, seed: int) -> dict[str, object]:
    """All figures of a policy.

    Args:
        size: test samples that are drawn; probabilities are those of all.
    """
    rng = random.Random(seed)
    samples = load_samples("builtin:sandbox-tools/test")
    recipe = load_recipe("quickstart-tools", ["--model_name_or_path", str(policy), "--evolve_batch_size", "256"])
    played = fixed_policy(recipe, str(policy), rewards_of(recipe))
    model = LlamaForCausalLM.from_pretrained(policy).eval()

    def template(choices: tuple[str, ...], useless: int) -> str:
        phrases = [rng.choice(PHRASES[c]) for c in choices] + rng.sample(USELESS, useless)
        rng.shuffle(phrases)
        return rng.choice(" \n").join(phrases)

    def success(choices: tuple[str, ...], useless: int = 0) -> dict[str, float]:
        pairs = [(template(choices, useless), s) for s in samples[:size]]
        return {
            name: round(sum(r.solved for r in played.roll_out(temperature)(pairs)) / len(pairs), 4)
            for name, temperature in (("temperature_1", 1.0), ("greedy", 0.0))
        }

    bare = [forced(model, "", s) for s in samples]
    told = [forced(model, template(CHOICES, 0), s) for s in samples]
    return {
        "test samples": len(samples),
        "drawn": size,
        "bare, percent right by probability": spread([100 * p for _, p, _ in bare]),
        "choices bare": {c: spread([f[0][c] for f in bare]) for c in CHOICES},
        "choices told": {c: spread([f[0][c] for f in told]) for c in CHOICES},
        "greedy right if the choices were made": sum(ok for *_, ok in bare) / len(bare),
        "bare": success(()),
        "all four": success(CHOICES),
        "all four and 4 useless": success(CHOICES, 4),
        "three of four": {f"without {c}": success(tuple(k for k in CHOICES if k != c)) for c in CHOICES},
        "useless only": success((), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--policy", type=Path, default=FOLDER / "policy")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--drawn", type=int, default=160, help="test samples that are drawn")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    text = json.dumps(measure(args.policy, args.drawn, args.seed), indent=2)
    print(text)
    args.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
