"""P2OTrainer on verl: stock verl's synchronous PPO trainer with the joint loop around it.

Only wraps ``super()``: rollouts of hard samples are generated from T(x, z) (`agent_loop`), everything that verl
computes stays on the bare prompt x, and the ratio mask enters as verl's weight of each token's loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from omegaconf import OmegaConf, open_dict
from verl.trainer.ppo.v1 import PPOTrainerSync, register_trainer
from verl.utils.debug import marked_timer

from ..base.files import read_json, write_json
from ..base.terminal import tell
from ..core.cost import CostMeter
from ..core.hard import is_solved
from ..core.loop import JointLoop
from ..core.methods.p2o import set_aside
from ..core.metrics import Group, cost_metrics, epoch_metrics, group_metrics
from ..core.samples import Sample
from ..core.states import has_spread
from ..errors import ConfigError, DataError
from . import NAME
from .agent_loop import OVERFLOW, SAMPLE_ID, TEMPLATES
from .batch import Row, column, read_rows, sample_of
from .between import prompt_step
from .ratio import onto_bare_prompt, weigh
from .settings import settings_of

STATE_FILE = "p2o_state.json"
"""In verl's checkpoint folders."""


@register_trainer(NAME)
class P2OTrainer(PPOTrainerSync):  # type: ignore[misc]
    """Chosen with ``trainer.v1.trainer_mode=p2o``; its settings are the ``p2o`` group (see `settings.VerlSettings`).

    Raises:
        ConfigError: the combination of settings cannot work.
    """

    def __init__(self, config: Any) -> None:
        self.settings = settings_of(OmegaConf.to_container(config, resolve=True))
        with open_dict(config):
            config.trainer.v1.trainer_mode = "sync"  # verl asks for it by name in many places
            config.actor_rollout_ref.rollout.agent.default_agent_loop = NAME
        self.run_dir = Path(config.trainer.default_local_dir).absolute()
        self.cost = CostMeter()
        self.epoch_figures: dict[str, float] = {}
        self.saved_step = -1
        super().__init__(config)

    # --- data ----------------------------------------------------------------------------------------------

    def _init_dataloader(self) -> None:
        super()._init_dataloader()
        samples: dict[str, Sample] = {}
        self.row_of: dict[str, int] = {}
        for n in range(len(self.train_dataset)):
            row = self.train_dataset[n]
            if row.get("agent_name", NAME) != NAME:
                raise ConfigError(
                    f"row {n + 1} of data.train_files has agent_name {row['agent_name']!r}, which would roll out "
                    f"without templates; drop the column, or set it to {NAME!r}"
                )
            sample = sample_of(row)
            if not sample.question.strip() or any(not isinstance(m["content"], str) for m in sample.messages):
                raise DataError(
                    f"row {n + 1} of data.train_files is not a chat of texts with a question of the user; P²O on verl "
                    "takes no images, and needs a user message for the template to stand in"
                )
            self.row_of.setdefault(sample.id, n)
            samples.setdefault(sample.id, sample)
        if not samples:
            raise DataError("data.train_files holds no samples")
        self.loop = JointLoop(
            self.settings, samples, self.run_dir / "p2o", self.settings.num_generations, self.settings.seed
        )

    def _next_train_batch(self, num_prompts: int | None = None) -> Any:
        batch = super()._next_train_batch(num_prompts)
        names = [name for name in ("raw_prompt", "reward_model") if name in batch]
        rows = [dict(zip(names, values, strict=True)) for values in zip(*(batch[name] for name in names), strict=True)]
        ids = [sample_of(row).id for row in rows]
        slots = range(self.settings.num_generations)
        batch[SAMPLE_ID] = column(ids)
        batch[TEMPLATES] = column([[self.loop.template(i, slot) for slot in slots] for i in ids])
        return batch

    def is_solved(self, reward: float, extra: Mapping[str, Any]) -> bool:
        """Whether a rollout reached the threshold, by its score or by the named entry of its reward's dictionary."""
        return is_solved(self.success_of(reward, extra), self.settings.success_threshold)

    def success_of(self, reward: float, extra: Mapping[str, Any]) -> float:
        """The reward that says what *solved* means."""
        name, info = self.settings.success_reward, extra.get("reward_extra_info") or {}
        if name is None:
            return reward
        if name not in info:
            raise ConfigError(
                f"p2o.success_reward is {name!r}, but the reward function returned {', '.join(info) or 'a number'}; "
                "name a key of the dictionary that it returns"
            )
        return float(info[name])

    # --- one step ------------------------------------------------------------------------------------------

    def _compute_advantage(self, batch: Any, metrics: dict[str, Any]) -> Any:
        rows = read_rows(batch, bool(self.config.actor_rollout_ref.rollout.calculate_log_probs))
        self._record([row for row in rows if not row.is_padding], metrics)
        templated = [row for row in rows if row.template]
        if templated and self.settings.distillation != "none":
            with marked_timer("p2o_ratio", self.timing_raw):
                batch = onto_bare_prompt(self, batch, rows, metrics)
        batch = super()._compute_advantage(batch, metrics)
        if templated:
            batch = weigh(self, batch, rows)
        metrics.update(cost_metrics(self.cost) | self.epoch_figures)
        self.epoch_figures = {}
        return batch

    def _record(self, rows: Sequence[Row], metrics: dict[str, Any]) -> None:
        """Writes the batch's groups into the ledger, and counts what they cost."""
        by_uid: dict[str, list[Row]] = {}
        for row in rows:
            by_uid.setdefault(row.uid, []).append(row)
        groups = []
        for group in by_uid.values():
            templated = [bool(row.template) for row in group]
            totals = [row.reward for row in group]
            rewards = [self.success_of(row.reward, row.extra) for row in group]
            self.loop.record(group[0].sample_id, rewards, templated, totals)
            solved = [self.is_solved(row.reward, row.extra) for row in group]
            groups.append(Group(group[0].sample_id, templated, solved, has_spread(totals)))
        metrics.update(group_metrics(groups, self.loop.needed, self.settings.tau))
        metrics["p2o/context_overflow"] = sum(OVERFLOW in row.extra for row in rows) / max(1, len(rows))
        read = sum(len(r.templated_ids) if r.template else r.prompt_tokens for r in rows)
        generated = sum(len(r.responses_T) for r in rows)
        stored = sum(r.prompt_tokens for r in rows) + generated
        self.cost["rollout"].add(
            rollouts=len(rows), prompt_tokens=read, generated_tokens=generated, scored_tokens=stored
        )
        self.cost["train"].add(trained_tokens=stored * int(self.config.actor_rollout_ref.actor.ppo_epochs))

    # --- epochs --------------------------------------------------------------------------------------------

    def fit(self, agent_loop_manager: Any) -> None:
        workers = agent_loop_manager.agent_loop_workers
        if not all(ray.get([worker.__ray_call__.remote(_has_agent_loop) for worker in workers])):
            raise ConfigError(
                f"a rollout worker of verl does not know the agent loop {NAME!r}; install p2o-rl[verl] on every node, "
                "and leave VERL_USE_EXTERNAL_PLUGINS at 'auto' or put 'p2o' into it"
            )
        super().fit(agent_loop_manager)

    def on_step_begin(self) -> None:
        """Runs the prompt step that is due before this epoch; verl's servers hold the newest weights here."""
        super().on_step_begin()
        if (self.global_steps - 1) // self.steps_per_epoch >= self.loop.next_epoch:
            with marked_timer("p2o_prompt_step", self.timing_raw):
                self.prompt_step()

    def prompt_step(self) -> None:
        summary = prompt_step(self)
        self.epoch_figures = epoch_metrics(summary)
        for note in summary.notes:
            tell(note)

    def on_step_end(self) -> None:
        if self.global_steps >= self.total_training_steps:
            self.loop.close()
        elif self.global_steps % self.steps_per_epoch == 0 and self.loop.rolls_out_next():
            self.save_once()  # steps that are repeated after a kill must not cost the evolution with them
        super().on_step_end()

    # --- state ---------------------------------------------------------------------------------------------

    def _folder(self) -> Path:
        return self.run_dir / f"global_step_{self.global_steps}"

    def save_once(self) -> None:
        """Saves a checkpoint of this step, unless there is one or none are wanted."""
        if self.config.trainer.save_freq > 0 and self.saved_step != self.global_steps:
            self._save_checkpoint()

    def _save_checkpoint(self) -> None:
        # Ours first: verl marks a checkpoint as the newest when all of it is written.
        write_json(self._folder() / STATE_FILE, {"loop": self.loop.state_dict(), "cost": self.cost.state_dict()})
        super()._save_checkpoint()
        self.saved_step = self.global_steps

    def _load_checkpoint(self) -> None:
        super()._load_checkpoint()
        if not self.global_steps:
            if self.loop.run_dir.exists():  # of a run that is not gone on with: its evolutions are of other weights
                set_aside(self.loop.run_dir)
            return
        resumed_from = self._folder()
        if self.config.trainer.resume_mode == "resume_path":
            resumed_from = Path(self.config.trainer.resume_from_path).absolute()
        state = read_json(resumed_from / STATE_FILE)
        self.loop.load_state_dict(state["loop"])
        self.cost.load_state_dict(state["cost"])
        self.loop.forget_later_epochs()


def _has_agent_loop(worker: Any) -> bool:
    from verl.experimental.agent_loop.agent_loop import _agent_loop_registry

    return NAME in _agent_loop_registry
