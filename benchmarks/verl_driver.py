"""What many templates cost verl's driver: 10,000 hard samples, 300 candidates, Ray and its transfer queue, no model.

    python benchmarks/verl_driver.py [--samples 10000] [--candidates 300] [--dev 300] [--workers 8]

Candidates are rolled out on the dev part one after the other, as an evolution does, and then one batch holds all
samples with K templates each. The rollout workers answer at once. Measured: seconds and memory of the driver, and the
bytes of templates in a batch, as numbers (`p2o.verl.texts`) and as texts. Writes
``benchmarks/results/verl-driver.json``. Needs the environment of docs/verl.md.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import time
from pathlib import Path
from typing import Any

import ray
import torch
import transfer_queue as tq
from ray import cloudpickle
from transfer_queue import KVBatchMeta
from verl.utils.tensordict_utils import list_of_dict_to_tensordict

from p2o.core.samples import Sample
from p2o.verl.agent_loop import PROMPT_IDS, TEMPLATE, TEMPLATES
from p2o.verl.batch import column
from p2o.verl.scored_rollouts import PARTITION, ScoredRollouts
from p2o.verl.texts import SharedTexts, text_of

CHARS, K = 1500, 8
"""Characters of a template; rollouts of a sample."""
PROMPT_TOKENS, RESPONSE_TOKENS = 500, 300


@ray.remote(num_cpus=0.1)
class Worker:
    """Stands for verl's rollout worker: answers at once, into the transfer queue."""

    def __init__(self) -> None:
        tq.init()

    def generate_sequences(self, batch: Any) -> None:
        keys, fields = [], []
        for row in range(len(batch)):
            number = batch[TEMPLATES][row]
            number = getattr(number, "data", number)[0]
            uid = batch["uid"][row]
            keys.append(f"{getattr(uid, 'data', uid)}_0_0")
            fields.append(
                {
                    "uid": getattr(uid, "data", uid),
                    "prompts": torch.arange(PROMPT_TOKENS),
                    "responses": torch.arange(RESPONSE_TOKENS),
                    "response_mask": torch.ones(RESPONSE_TOKENS, dtype=torch.int64),
                    "rm_scores": torch.zeros(RESPONSE_TOKENS),
                    "extra_fields": {TEMPLATE: number, PROMPT_IDS: list(range(len(text_of(number)) // 4))},
                }
            )
        tags = [{"status": "success"} for _ in keys]
        tq.kv_batch_put(keys=keys, partition_id=PARTITION, fields=list_of_dict_to_tensordict(fields), tags=tags)


def memory() -> float:
    """Largest memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def template(n: int) -> str:
    words = random.Random(n)
    return f"Template {n}. " + "".join(words.choices("abcdefgh ", k=CHARS - 20))


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, default in (("samples", 10_000), ("candidates", 300), ("dev", 300), ("workers", 8)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    ray.init(address="local", num_cpus=16, include_dashboard=False)
    tq.init()
    workers = [Worker.remote() for _ in range(args.workers)]
    shared = SharedTexts(workers)
    samples = [
        Sample(str(n), [{"role": "user", "content": f"What is {n} + 1? " + "x" * 400}], str(n + 1))
        for n in range(args.samples)
    ]
    texts = [template(n) for n in range(args.candidates)]
    started: list[str] = []

    def generate(batch: Any) -> None:
        started[:] = [getattr(uid, "data", uid) for uid in batch["uid"]]
        ray.get(
            [w.generate_sequences.remote(part) for w, part in zip(workers, batch.chunk(len(workers)), strict=False)]
        )

    def wait_for(count: int) -> KVBatchMeta:
        tq.kv_clear(keys=started, partition_id=PARTITION)  # the prompts' own keys, as verl's replay buffer does
        return KVBatchMeta(partition_id=PARTITION, keys=[f"{uid}_0_0" for uid in started], tags=[{}] * count)

    roll_out = ScoredRollouts(
        data_row=lambda s: {"raw_prompt": s.messages, "reward_model": {"ground_truth": s.answer}, "index": int(s.id)},
        default_agent="single_turn_agent",
        numbers_of=shared.numbers_of,
        generate=generate,
        wait_for=wait_for,
        step=1,
        temperature=0.0,
        decode=lambda ids: "x" * len(ids),
        success_reward=None,
        success_threshold=1.0,
    )
    at_start, begun = memory(), time.perf_counter()
    for text in texts:
        assert len(roll_out([(text, s) for s in samples[: args.dev]])) == args.dev
    evolution = {"rollouts": len(texts) * args.dev, "seconds": time.perf_counter() - begun, "peak_mb": memory()}
    begun = time.perf_counter()
    assert len(roll_out([(texts[n % len(texts)], s) for n, s in enumerate(samples)])) == len(samples)
    one_call = {"rollouts": len(samples), "seconds": time.perf_counter() - begun, "peak_mb": memory()}

    draw = random.Random(0)
    assigned = [[draw.choice(texts) for _ in range(K)] for _ in samples]
    begun = time.perf_counter()
    numbers = [shared.numbers_of(row) for row in assigned]
    seconds = time.perf_counter() - begun
    one_row = {
        name: len(cloudpickle.dumps(values)) for name, values in (("numbers", numbers[0]), ("texts", assigned[0]))
    }
    batch = {
        name: len(cloudpickle.dumps(column(rows))) / 1e6 for name, rows in (("numbers", numbers), ("texts", assigned))
    }
    result = {
        "samples": args.samples,
        "candidates": args.candidates,
        "dev": args.dev,
        "workers": args.workers,
        "template_chars": CHARS,
        "machine": f"{os.cpu_count()} cores",
        "start_mb": at_start,
        "candidates_on_the_dev_part": evolution,
        "all_samples_in_one_call": one_call,
        "one_batch_of_all_samples": {
            "group": K,
            "seconds_for_numbers": seconds,
            "column_mb": batch,
            "bytes_in_each_rollouts_row": one_row,
            "mb_in_all_rows": {name: size * K * len(samples) / 1e6 for name, size in one_row.items()},
        },
        "texts_mb_sent_to_each_worker": sum(map(len, texts)) / 1e6,
    }
    print(json.dumps(result, indent=1))
    (Path(__file__).parent / "results" / "verl-driver.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
