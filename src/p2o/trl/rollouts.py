"""Rolling out between the steps of a GRPOTrainer: for evolution, reflection and evaluation.

Uses TRL's own generation (transformers, or vLLM with synchronised weights) and TRL's own reward calls, on all
processes: rank 0 drives the evolution, the others serve rollouts.
"""

from __future__ import annotations

import copy
import hashlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from accelerate.utils import broadcast_object_list, gather_object
from peft import PeftModel

from ..base.stopping import StoppedError
from ..base.terminal import progress_bar
from ..core.cost import Phase
from ..core.samples import Rollout
from ..core.templates import apply_to_prompt
from ..generation.efficient import SampledLogps, efficient
from ..reflectors.local import generate_ids, starting_policy
from .peers import PeerError

if TYPE_CHECKING:
    from .trainer import P2OTrainer

T = TypeVar("T")
Row = Mapping[str, Any]
TOO_LONG = "The prompt with this template does not fit into the context."


@contextmanager
def isolated_rng(seed: int) -> Iterator[None]:
    """Seeds all random number generators inside and restores them after, so that the training stream goes on as if
    nothing had happened."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(enabled=True):
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


@contextmanager
def sampling(trainer: P2OTrainer, temperature: float, max_new_tokens: int | None = None) -> Iterator[None]:
    """Other sampling settings than the training's, in both of TRL's generation paths."""
    if trainer.use_vllm:
        engine = trainer.vllm_generation
        saved = engine.temperature, engine.max_completion_length
        engine.temperature = temperature
        engine.max_completion_length = max_new_tokens or saved[1]
        try:
            yield
        finally:
            engine.temperature, engine.max_completion_length = saved
        return
    saved_config, saved_kwargs = trainer.generation_config, trainer.generation_kwargs
    changes: dict[str, Any] = {"do_sample": temperature > 0, "temperature": temperature or 1.0}
    if not temperature:
        changes |= {"top_p": 1.0, "top_k": 0, "min_p": None}
    if max_new_tokens:
        changes["max_new_tokens"] = max_new_tokens
    trainer.generation_config = copy.deepcopy(saved_config)
    trainer.generation_config.update(**changes)
    trainer.generation_kwargs = {**saved_kwargs, **changes}
    try:
        yield
    finally:
        trainer.generation_config, trainer.generation_kwargs = saved_config, saved_kwargs


@contextmanager
def trackers_off(trainer: P2OTrainer) -> Iterator[None]:
    """Outside training a tracker has no run, and TRL's profiler would log to trackio all the same."""
    trackers = trainer.args.report_to
    trainer.args.report_to = trackers if trainer.is_in_train else []
    try:
        yield
    finally:
        trainer.args.report_to = trackers


def roll_out_templated(
    trainer: P2OTrainer,
    templates: Sequence[str],
    prompt_ids: Sequence[list[int]],
    generate: Callable[[list[list[int]]], tuple[list[list[int]], Any]],
) -> tuple[list[list[int]], list[list[float]]]:
    """A training batch's completions by ``generate`` and the log-probs of their tokens as they were drawn (none where
    the model's cache does not allow it).

    On a CPU templated and bare rows go apart: there every padded position costs time, on a GPU every step.
    """
    rows = range(len(prompt_ids))
    apart = trainer.accelerator.device.type == "cpu"
    parts = [[n for n in rows if bool(templates[n]) is which] for which in (True, False)] if apart else [list(rows)]
    completions: list[list[int]] = [[] for _ in rows]
    logps: list[list[float]] = [[] for _ in rows]
    for part in filter(None, parts):
        record = SampledLogps(trainer.temperature)
        with efficient(trainer.accelerator.unwrap_model(trainer.model), record):
            completed, _ = generate([prompt_ids[n] for n in part])
        drawn = record.of(completed) if record.last is not None else [[] for _ in part]
        for n, ids, row in zip(part, completed, drawn, strict=True):
            completions[n], logps[n] = ids, row
    return completions, logps if any(logps) else []


class Generator:
    """Extra generation on a trainer. `roll_out` and `reflect` are collective: every process calls them with the
    same arguments and gets all results."""

    def __init__(self, trainer: P2OTrainer) -> None:
        self.trainer = trainer

    def roll_out(self, pairs: Sequence[tuple[str, Row]], temperature: float, phase: Phase) -> list[Rollout]:
        """Rolls out and scores (template, row) pairs, one completion each."""
        trainer = self.trainer
        prompts = [apply_to_prompt(template, row["prompt"]) for template, row in pairs]
        mine = self._shard(len(pairs))
        with isolated_rng(_seed(trainer.args.seed, prompts)), sampling(trainer, temperature):
            prompt_ids, completion_ids = self._generate([prompts[i] for i in mine], phase)
        rows = [pairs[i][1] for i in mine]
        rewards, feedback = self._score(rows, completion_ids)
        rollouts = []
        texts = trainer.processing_class.batch_decode(completion_ids, skip_special_tokens=True)
        for n in range(len(mine)):
            fits = bool(completion_ids[n])
            rollouts.append(
                Rollout(
                    completion=texts[n],
                    reward=trainer.total_reward(rewards[n]) if fits else 0.0,
                    solved=fits and trainer.is_solved(rewards[n]),
                    feedback=feedback[n] if fits else TOO_LONG,
                    prompt_tokens=len(prompt_ids[n]) if fits else 0,
                    completion_tokens=len(completion_ids[n]),
                )
            )
        return self._gather(mine, rollouts, len(pairs))

    def reflect(
        self, prompts: Sequence[str], kind: str, temperature: float, max_new_tokens: int
    ) -> tuple[list[str], list[int], list[int]]:
        """(texts, prompt tokens, completion tokens): replies of the policy ("policy") or of the frozen starting
        policy ("self") to plain user prompts."""
        trainer = self.trainer
        mine = self._shard(len(prompts))
        conversations = [[{"role": "user", "content": prompts[i]}] for i in mine]
        seed = _seed(trainer.args.seed, prompts)
        with isolated_rng(seed), sampling(trainer, temperature, max_new_tokens):
            if kind == "policy":
                ids, completions = self._generate(conversations, "reflect", max_new_tokens)
            elif isinstance(trainer.accelerator.unwrap_model(trainer.model), PeftModel) and not trainer.use_vllm:
                with trainer.accelerator.unwrap_model(trainer.model).disable_adapter():
                    ids, completions = self._generate(conversations, "reflect", max_new_tokens)
            else:  # with LoRA too, under vLLM: its engine holds the adapter merged into the weights
                ids, completions = self._generate_by_starting_policy(conversations, temperature, max_new_tokens)
        texts = trainer.processing_class.batch_decode(completions, skip_special_tokens=True)
        results = list(zip(texts, map(len, ids), map(len, completions), strict=True))
        gathered = self._gather(mine, results, len(prompts))
        return [r[0] for r in gathered], [r[1] for r in gathered], [r[2] for r in gathered]

    def _generate_by_starting_policy(
        self, conversations: Sequence[Any], temperature: float, max_new_tokens: int
    ) -> tuple[list[list[int]], list[list[int]]]:
        trainer = self.trainer
        with trainer.phase("reflect"), starting_policy(trainer) as model:
            prompt_ids, _, _ = trainer._tokenize_prompts(list(conversations))
            completions = generate_ids(
                model,
                trainer.processing_class,
                prompt_ids,
                temperature,
                max_new_tokens,
                trainer.args.evolve_batch_size,
            )
        trainer.cost["reflect"].add(
            prompt_tokens=sum(map(len, prompt_ids)), generated_tokens=sum(map(len, completions))
        )
        return prompt_ids, completions

    def drive(self, work: Callable[[Callable[..., Any]], T]) -> T | None:
        """Runs ``work(call)`` on rank 0, where ``call(method, *args)`` runs a collective method on all ranks.

        The other ranks serve the calls and return None; if rank 0 fails they stop with an error.
        """
        if self.trainer.accelerator.num_processes == 1:
            return work(lambda method, *args: getattr(self, method)(*args))
        if not self.trainer.accelerator.is_main_process:
            self._serve()
            return None
        ended = "failed"
        try:
            result = work(self._call)
            ended = "done"
        except StoppedError:
            ended = "stopped"
            raise
        finally:
            broadcast_object_list([(ended, ())])
        return result

    def _call(self, method: str, *args: Any) -> Any:
        broadcast_object_list([(method, args)])
        return getattr(self, method)(*args)

    def _serve(self) -> None:
        while True:
            command: list[Any] = [None]
            broadcast_object_list(command)
            method, args = command[0]
            if method == "done":
                return
            if method == "stopped":
                raise StoppedError("training stopped together with rank 0")
            if method == "failed":
                raise PeerError("the prompt step failed on rank 0; its own error says why")
            getattr(self, method)(*args)

    def _shard(self, total: int) -> list[int]:
        """Indices of this rank; the last ones are repeats, so that all ranks have equally many."""
        accelerator = self.trainer.accelerator
        world, rank = accelerator.num_processes, accelerator.process_index
        size = -(-total // world)
        return [(rank * size + n) % total for n in range(size)]

    def _gather(self, mine: list[int], results: list[T], total: int) -> list[T]:
        found = dict(gather_object(list(zip(mine, results, strict=True))))
        return [found[i] for i in range(total)]

    def _generate(
        self, prompts: Sequence[Any], phase: Phase, max_new_tokens: int | None = None
    ) -> tuple[list[list[int]], list[list[int]]]:
        """(prompt ids, completion ids) in the order of ``prompts``; a prompt that does not fit the context gets
        no completion. Chunks are of similar length, which saves padding."""
        trainer = self.trainer
        prompt_ids, _, _ = trainer._tokenize_prompts(list(prompts))
        limit = trainer.prompt_limit(max_new_tokens)
        order = sorted(range(len(prompts)), key=lambda i: len(prompt_ids[i]))
        fits = [len(ids) <= limit for ids in prompt_ids]
        # With sharded weights or vLLM all ranks call equally often, and with equally many prompts.
        sent = order if trainer.generates_in_step else [i for i in order if fits[i]]
        filler = prompt_ids[order[0]][:limit]
        policy = trainer.accelerator.unwrap_model(trainer.model)
        size = len(order) if trainer.use_vllm else trainer.args.evolve_batch_size
        completion_ids: list[list[int]] = [[] for _ in prompts]
        # An evolution shows its own bar, a reflection is short.
        shown = phase == "evaluate" and trainer.accelerator.is_main_process and not trainer.args.disable_tqdm
        with trainer.phase(phase), progress_bar(len(sent), phase, shown=shown) as bar:
            for start in range(0, len(sent), size):
                chunk = sent[start : start + size]
                ids = [prompt_ids[i] if fits[i] else filler for i in chunk]
                with efficient(policy) if trainer.generates_alone else nullcontext():
                    completions, _ = trainer._generate_single_turn(ids, None, {}, 1)
                for i, completion in zip(chunk, completions, strict=True):
                    completion_ids[i] = list(completion) if fits[i] else []
                bar.update(len(chunk))
        return prompt_ids, completion_ids

    def _score(self, rows: Sequence[Row], completion_ids: list[list[int]]) -> tuple[list[list[float]], list[str]]:
        """This rank's (rewards per function, feedback text) for each row."""
        trainer = self.trainer
        texts = trainer.processing_class.batch_decode(completion_ids, skip_special_tokens=True)
        prompts = [row["prompt"] for row in rows]
        chat = not isinstance(prompts[0], str)
        completions = [[{"role": "assistant", "content": t}] if chat else t for t in texts]
        extra, metrics = trainer._pending_extra_logs, trainer._pending_metrics
        trainer._pending_extra_logs, trainer._pending_metrics = type(extra)(list), type(metrics)(list)
        try:
            rewards_NF = trainer._calculate_rewards(list(rows), prompts, completions, completion_ids)
            columns = [v for k, v in trainer._pending_extra_logs.items() if k.endswith("feedback")]
        finally:
            trainer._pending_extra_logs, trainer._pending_metrics = extra, metrics
        start = trainer.accelerator.process_index * len(rows)
        rewards = rewards_NF[start : start + len(rows)].tolist()
        feedback = [" ".join(str(column[n]) for column in columns if column[n]) for n in range(len(rows))]
        return rewards, [
            text or f"The reward of this answer is {trainer.total_reward(r):g}."
            for text, r in zip(feedback, rewards, strict=True)
        ]


def _seed(seed: int, prompts: Sequence[Any]) -> int:
    """Same prompts, same seed, same completions: a resumed evolution repeats what the killed one drew."""
    digest = hashlib.sha256(repr((seed, prompts)).encode()).digest()
    return int.from_bytes(digest[:6], "big")
