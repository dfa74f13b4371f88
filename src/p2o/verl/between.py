"""Generation between two epochs, with the weights that verl's servers hold: for evolution and reflection."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import transfer_queue as tq
from verl.utils import tensordict_utils as tu
from verl.utils.dataset.rl_dataset import collate_fn
from verl.utils.ray_utils import auto_await

from ..core.evolve import ReflectionJob, Reply
from ..core.samples import Rollout, Sample
from ..core.summary import EpochSummary
from ..generation.prompt_step import run_prompt_step
from ..reflectors.building import build_reflector
from ..reflectors.control_tokens import ControlGuard
from .agent_loop import OVERFLOW, PROMPT_IDS, TEMPLATES

if TYPE_CHECKING:
    from .trainer import P2OTrainer

TOO_LONG = "The prompt with this template does not fit into the prompt length."
FAILED = "The rollout failed."


def prompt_step(trainer: P2OTrainer) -> EpochSummary:
    """Closes the epoch and prepares the next one (`p2o.generation.prompt_step.run_prompt_step`)."""
    on_policy = trainer.settings.reflector == "policy"
    reflector: Any = PolicyReflector(trainer) if on_policy else build_reflector(trainer.settings)
    return run_prompt_step(
        trainer.loop,
        lambda pairs: roll_out(trainer, pairs),
        reflector,
        trainer.cost,
        control=ControlGuard(trainer.tokenizer),
        on_policy=on_policy,
    )


def roll_out(trainer: P2OTrainer, pairs: Sequence[tuple[str, Sample]]) -> list[Rollout]:
    """One scored completion of each (template, sample), under verl's validation sampling (``rollout.val_kwargs``,
    greedy by default). Goes the way of verl's own validation: agent loop, reward workers, transfer queue."""
    columns = collate_fn([dict(trainer.train_dataset[trainer.row_of[sample.id]]) for _, sample in pairs])
    uids = [str(uuid.uuid4()) for _ in pairs]
    columns["uid"] = np.array(uids, dtype=object)
    columns["__rollout_n__"] = np.array([1] * len(pairs), dtype=object)
    batch = tu.get_tensordict({**columns, TEMPLATES: [[template] for template, _ in pairs]})
    tu.assign_non_tensor_data(batch, "global_steps", trainer.global_steps)
    tu.assign_non_tensor_data(batch, "validate", True)
    tags = [{"is_prompt": True, "status": "pending", "global_steps": trainer.global_steps} for _ in pairs]
    tq.kv_batch_put(keys=uids, partition_id="val", tags=tags)
    trainer.agent_loop_manager.generate_sequences(batch)
    done, _ = trainer.replay_buffer.sample(global_steps=trainer.global_steps, partition_id="val", batch_size=len(pairs))
    fields = ["uid", "prompts", "responses", "rm_scores", "extra_fields"]
    found: dict[str, Rollout] = {}
    if done.keys:
        data = tq.kv_batch_get(keys=done.keys, partition_id="val", select_fields=fields)
        tq.kv_clear(keys=done.keys, partition_id="val")
        samples = {uid: sample for uid, (_, sample) in zip(uids, pairs, strict=True)}
        rows = zip(*(list(data[name]) for name in fields), strict=True)
        for uid, prompt_ids, response_ids, scores, extra in rows:
            found[uid] = _rollout(trainer, samples[uid], prompt_ids, response_ids, float(scores.sum()), extra)
    return [found.get(uid, Rollout("", 0.0, False, FAILED)) for uid in uids]


def _rollout(
    trainer: P2OTrainer, sample: Sample, prompt_ids: Any, response_ids: Any, reward: float, extra: dict[str, Any]
) -> Rollout:
    if extra.get(OVERFLOW):
        return Rollout("", 0.0, False, TOO_LONG)
    solved = trainer.is_solved(reward, extra)
    return Rollout(
        completion=trainer.tokenizer.decode(response_ids.tolist(), skip_special_tokens=True),
        reward=reward,
        solved=solved,
        feedback=_feedback(sample, reward, solved, extra),
        prompt_tokens=len(extra.get(PROMPT_IDS) or prompt_ids),
        completion_tokens=len(response_ids),
    )


def _feedback(sample: Sample, reward: float, solved: bool, extra: dict[str, Any]) -> str:
    """The reward function's own ``feedback``, or what can be said without one."""
    told = (extra.get("reward_extra_info") or {}).get("feedback")
    if told:
        return str(told)
    gold = f" The right answer is {sample.answer}." if sample.answer else ""
    return f"{'Right answer.' if solved else f'Wrong answer or wrong format.{gold}'} Reward: {reward:g}."


class PolicyReflector:
    """Asks the policy in training itself, through verl's servers. A prompt that leaves no room fails its job alone."""

    def __init__(self, trainer: P2OTrainer) -> None:
        self.trainer = trainer

    def __call__(self, jobs: Sequence[ReflectionJob]) -> list[Reply]:
        prompts = [self._prompt_ids(job.prompt) for job in jobs]
        replies: list[Reply] = self._ask(prompts)
        return replies

    def _prompt_ids(self, text: str) -> list[int]:
        options = dict(self.trainer.config.data.get("apply_chat_template_kwargs") or {})
        messages = [{"role": "user", "content": text}]
        ids = self.trainer.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=True, **options
        )["input_ids"]
        return list(ids)

    @auto_await  # type: ignore[untyped-decorator]
    async def _ask(self, prompts: Sequence[list[int]]) -> list[Reply]:
        client = self.trainer.get_llm_client()
        return list(await asyncio.gather(*(self._one(client, ids) for ids in prompts)))

    async def _one(self, client: Any, prompt_ids: list[int]) -> Reply:
        settings, rollout = self.trainer.settings, self.trainer.config.actor_rollout_ref.rollout
        room = rollout.prompt_length + rollout.response_length - len(prompt_ids)
        if room < 1:
            return Reply(None, "prompt_too_long")
        sampling = {
            "temperature": settings.reflect_temperature,
            "top_p": 1.0,
            "top_k": -1,
            "max_tokens": min(settings.reflect_max_tokens, room),
        }
        output = await client.generate(request_id=uuid.uuid4().hex, prompt_ids=prompt_ids, sampling_params=sampling)
        text = self.trainer.tokenizer.decode(output.token_ids, skip_special_tokens=True)
        return Reply(text, None, len(prompt_ids), len(output.token_ids))
