"""verl's validations, read as P²O's evaluations: bare success, sample by sample."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import transfer_queue as tq

from ..core.hard import is_solved
from ..core.metrics import evaluation_metrics
from ..core.samples import Rollout
from ..data import stable_id
from .batch import read_tokens, success_reward

PART = "eval"
"""Name of verl's validation data in P²O's figures."""


@dataclass
class Evaluation:
    """The rollouts of one validation."""

    rollouts: list[Rollout] = field(default_factory=list)
    samples: list[str] = field(default_factory=list)
    """The sample of each rollout, by a hash of its prompt's tokens and its answer."""
    sources: list[str] = field(default_factory=list)
    """The ``data_source`` of each rollout."""

    def read(self, batch: Any, success_name: str | None, threshold: float) -> None:
        """Adds the rollouts of a batch of verl's validation.

        Args:
            batch: a `KVBatchMeta` of the transfer queue.
            success_name, threshold: see `p2o.verl.batch.success_reward`.
        """
        names = ["prompts", "response_mask", "rm_scores", "extra_fields", "reward_model", "data_source"]
        data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=names)
        for prompt, mask, scores, extra, model, source in zip(*(list(data[n]) for n in names), strict=True):
            reward = float(scores.sum())
            solved = is_solved(success_reward(success_name, reward, extra or {}), threshold)
            read = read_tokens(len(prompt), mask)
            self.rollouts.append(Rollout("", reward, solved, "", read, int(mask.sum())))
            gold = json.dumps((model or {}).get("ground_truth"), default=str)
            self.samples.append(stable_id([{"role": "prompt", "content": prompt.tolist()}], [gold]))
            self.sources.append(str(source))

    @property
    def metrics(self) -> dict[str, float]:
        """Bare success, of each source of data too where there are several; mean reward and length."""
        groups = self.sources if len(set(self.sources)) > 1 else None
        return evaluation_metrics(self.rollouts, groups, PART)

    @property
    def outcomes(self) -> dict[str, bool]:
        """Sample → whether it was solved; empty where several completions of a sample were drawn."""
        unique = len(set(self.samples)) == len(self.samples)
        return dict(zip(self.samples, (r.solved for r in self.rollouts), strict=True)) if unique else {}

    @property
    def groups(self) -> dict[str, str]:
        """Sample → its source of data."""
        return dict(zip(self.samples, self.sources, strict=True))


@contextmanager
def recorded(buffer: Any, success_name: str | None, threshold: float) -> Iterator[Evaluation]:
    """Reads every batch that verl's replay buffer hands out in a ``with`` block, before verl clears it.

    Args:
        buffer: a `ReplayBuffer`.
    """
    evaluation, sample = Evaluation(), buffer.sample

    def read(*args: Any, **kwargs: Any) -> Any:
        batch, metrics = sample(*args, **kwargs)
        evaluation.read(batch, success_name, threshold)
        return batch, metrics

    buffer.sample = read
    try:
        yield evaluation
    finally:
        buffer.sample = sample


def result_of(before: Mapping[str, Any], after: Evaluation, cost: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """What ``result.json`` holds of a run that was evaluated before and after (see `p2o.runs.run_directory.Run`)."""
    return {
        "before": before["metrics"],
        "after": after.metrics,
        "outcomes_before": {PART: before["outcomes"]},
        "outcomes": {PART: after.outcomes},
        "groups": {PART: after.groups},
        "cost": cost,
        "seconds": seconds,
    }
