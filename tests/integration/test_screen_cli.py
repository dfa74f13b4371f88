"""p2o screen on the built-in policy."""

import json
import math

import torch

from helpers import ALL_FOUR, hard_rows
from p2o.cli.main import main
from p2o.core.templates import apply_template
from p2o.data import sample_of
from p2o.generation.local import ModelSource, load_policy
from p2o.generation.settings import GenerationSettings


def run(tmp_path, *options):
    code = main(["screen", "quickstart", "--output_dir", str(tmp_path), *options])
    return code, json.loads((tmp_path / "screen.json").read_text()) if code == 0 else None


def test_the_quickstart_is_worth_it(tmp_path, capsys):
    code, figures = run(tmp_path, "--samples", "60", "--num_generations", "4", "--per_device_train_batch_size", "64")
    assert code == 0
    assert figures["verdict"]["worth"] == "worth it"
    screen = figures["screen"]
    assert sum(s["count"] for s in screen["outcomes"].values()) == screen["samples"] == 60
    assert screen["gap"]["difference"] > 0.2
    assert screen["reaches"]["rollouts"] > 0
    assert screen["reaches"]["ways"]["solved"]["reach"] > 0.9
    assert screen["evolution"]["rollouts"] < 1000  # it ends when a template helps
    assert "worth it" in capsys.readouterr().out


def test_easy_data_is_not_worth_it(tmp_path):
    rows = [{"id": f"e{n}", "prompt": f"What is {n} + {n + 2}?", "answer": str(2 * n + 2)} for n in range(1, 9)]
    data = tmp_path / "easy.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, figures = run(tmp_path, "--train", str(data))
    assert code == 0
    assert figures["verdict"]["worth"] == "not worth it"
    assert "too few hard samples" in figures["verdict"]["reason"]
    assert main(["screen", "quickstart", "--samples", "0"]) == 2


def test_log_probs_of_a_local_policy_are_those_of_single_forwards():
    policy = load_policy(ModelSource("builtin:sandbox"), GenerationSettings(30, batch_size=3))
    messages = [sample_of(row).messages for row in hard_rows(5)]
    conversations = [apply_template(ALL_FOUR if n % 2 else "", m) for n, m in enumerate(messages)]
    ids = [c.ids for c in policy.complete(conversations, 1.0, 30)]
    found = policy.token_logps(conversations, ids, temperature=0.7)
    for conversation, completion, logps in zip(conversations, ids, found, strict=True):
        prompt = policy.tokenizer.apply_chat_template([conversation], add_generation_prompt=True, return_dict=True)
        row = torch.tensor([[*prompt["input_ids"][0], *completion]])
        with torch.no_grad():
            expected = (policy.model(row).logits[0].float() / 0.7).log_softmax(-1)
        first = row.size(1) - len(completion)
        for t, (token, logp) in enumerate(zip(completion, logps, strict=True)):
            assert math.isclose(expected[first + t - 1, token].item(), logp, abs_tol=1e-3)
