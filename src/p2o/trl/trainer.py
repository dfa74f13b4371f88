"""P2OTrainer: TRL's GRPOTrainer with a method's four hooks (`p2o.core.methods`).

It only wraps ``super()`` (docs/decisions.md). Rollouts are generated under the method's templates, everything that TRL
computes stays on the bare prompt x, and the method's credit is applied through per-token advantages. There is one
class a file, each derived from the one before: `drawing` (the model as a policy), `step` (a training step), `saving`
(checkpoints), and here epochs and evaluation.
"""

from __future__ import annotations

from . import compat  # noqa: F401 (before TRL: another version may lack a name that is imported below)

# isort: split

import inspect
import warnings
from pathlib import Path
from typing import Any, ClassVar

from accelerate.utils import broadcast_object_list
from transformers import Trainer
from trl import GRPOConfig, GRPOTrainer

from ..base.files import write_json
from ..base.stopping import StopRequest
from ..core.cost import CostMeter
from ..core.evolve import Reflector
from ..core.loop import JointLoop
from ..core.metrics import cost_metrics, epoch_metrics, evaluation_metrics
from ..core.rollout_log import RolloutLog
from ..core.summary import EpochSummary
from ..data import check_prompts
from ..errors import ConfigError
from ..generation.models import resolve_model
from ..generation.prompt_step import counted_tools, run_prompt_step
from ..generation.settings import read_chat_template
from ..generation.tools import guarded_factories
from ..reflectors.building import with_deadline
from ..reflectors.control_tokens import ControlGuard
from ..reflectors.settings import LOCAL
from ..rewards.deadline import watch
from .beside import SecondProcess
from .callbacks import LoopCallback
from .checkpoint import choose_checkpoint, latest_checkpoint
from .config import p2o_config
from .engine import roomy_engine
from .evaluation import datasets_of, evaluation_groups, evaluation_was_missed, some_fit
from .peers import lost_peers_explained
from .ranks import RankDriver, agree_to_stop, global_cost
from .rollouts import Reflect, RollOut
from .rows import check_eval_rows, refuse_arguments, training_rows
from .sampler import EpochSampler
from .saving import SavingTrainer
from .trackers import begin_trackers, sample_sheet, send_sheets, template_sheet
from .watching import Watch, replace_progress


class P2OTrainer(SavingTrainer):
    """Drop-in for [`trl.GRPOTrainer`] that also evolves prompt templates for the samples on which every rollout
    fails, and distils them into the bare prompt (P²O, arXiv 2603.21877).

    Args:
        model, reward_funcs, args, train_dataset, eval_dataset, …: as in `trl.GRPOTrainer`, in its order. ``model`` may
            be a built-in one too ("builtin:sandbox"). ``args`` is a `P2OConfig` (a plain GRPOConfig gets P²O's
            defaults). The data set may have a column ``sample_id`` (else ids are hashes of the rows). A reward function
            may call ``log_extra("feedback", texts)`` to tell the reflector what was wrong.
        reflector: writes new templates. A `p2o.core.evolve.Reflector`, or "self" (the frozen starting policy) or
            "policy" (the current weights).
        beside: evolves beside training (``evolve_beside``); ``p2o train`` gives it.

    Raises:
        ConfigError: the combination of arguments cannot work.
    """

    _tag_names: ClassVar = ["trl", "grpo", "p2o"]
    _name = "P2O"
    _signature_columns: Any
    _paper: ClassVar = {
        "title": "P2O: Joint Policy and Prompt Optimization",
        "id": "2603.21877",
        "citation": "@article{p2o2026, title = {{P2O: Joint Policy and Prompt Optimization}}, year = 2026, "
        "eprint = {arXiv:2603.21877}}",
    }

    def __init__(
        self,
        model: Any,
        reward_funcs: Any = None,
        args: GRPOConfig | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        *more: Any,
        reflector: Reflector | str = "self",
        beside: SecondProcess | None = None,
        **arguments: Any,
    ) -> None:
        arguments |= dict(zip(list(inspect.signature(GRPOTrainer.__init__).parameters)[6:], more, strict=False))
        refuse_arguments(arguments)
        if isinstance(reflector, str) and reflector not in LOCAL:
            raise ConfigError(f"reflector is {reflector!r}; use one of {', '.join(LOCAL)} or a Reflector object")
        args = p2o_config(args)
        model = resolve_model(model) if isinstance(model, str) else model
        factories = guarded_factories(arguments.get("environment_factory"), args.tool_timeout, args.reward_timeout)
        arguments["environment_factory"] = factories
        self.rows = training_rows(train_dataset, factories, args)
        for name, dataset in datasets_of(eval_dataset).items():
            check_eval_rows(dataset, name)
        check_prompts(self.rows.samples.values(), templated=args.method != "grpo")
        self.reflector = with_deadline(reflector)
        self.run_dir = Path(args.output_dir)
        self.cost = CostMeter()
        self.loop = JointLoop(args, self.rows.samples, self.run_dir / "p2o", args.num_generations, args.seed)
        self.rollout_log = RolloutLog(self.run_dir / "p2o")
        self.last_evaluation: dict[str, float] = {}
        self.last_solved: dict[str, bool] = {}
        self.stop = StopRequest()
        self._sampler: EpochSampler | None = None
        given = [] if reward_funcs is None else reward_funcs if isinstance(reward_funcs, list) else [reward_funcs]
        self.given_rewards = len(given)
        watched = [watch(function, args.reward_timeout) for function in given]
        with roomy_engine():
            super().__init__(model, watched or None, args, self.rows.dataset, eval_dataset, **arguments)
        if args.chat_template_path:
            self._tokenizer.chat_template = read_chat_template(args.chat_template_path)
        for n in range(self.given_rewards, len(self.reward_funcs)):  # those of environments
            self.reward_funcs[n] = watch(self.reward_funcs[n], args.reward_timeout)
        self.prepare_steps()
        self.prepare_saving(beside)
        self.add_callback(LoopCallback(self))
        self.watch = Watch(self.loop.run_dir, redrawn=not args.disable_tqdm, verbose=args.verbose)
        replace_progress(self, self.watch)

    # --- order ---------------------------------------------------------------------------------------------

    def _get_train_sampler(self, dataset: Any = None) -> EpochSampler:
        ids = self.rows.dataset["sample_id"]
        self._sampler = EpochSampler(super()._get_train_sampler(dataset), ids, self.loop.order)
        return self._sampler

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        if "sample_id" not in self._signature_columns:  # remove_unused_columns would remove the rows' ids
            self._signature_columns = [*self._signature_columns, "sample_id"]

    # --- between epochs (the hooks of LoopCallback) ----------------------------------------------------------

    def begin_training(self) -> None:
        """Of a resumed run: restores the count of micro-steps, and makes an evaluation that it missed."""
        # TRL counts micro-steps from 0 when it resumes too, and would generate at the wrong ones.
        self._step, self._buffered_inputs = self.resumed_at
        self.model.train()  # a resumed run may log before its first step
        if evaluation_was_missed(self.args, self.state):
            self.evaluate()

    def begin_epoch(self, epoch: int) -> None:
        """Runs the prompt step that is due before this epoch, if any, and lets all ranks agree on its result."""
        if self._sampler is not None:
            self._sampler.set_epoch(epoch)
        if epoch < self.loop.next_epoch:
            return
        if self.accelerator.is_main_process:
            self.rollout_log.write()
        if self.loop.rolls_out_next():
            self.save_once()  # a run that is killed later need not repeat these steps, nor the evolution
        was_training = self.model.training
        self.model.eval()
        try:
            summary = RankDriver(self.accelerator, self.carry_out).drive(self._prompt_step)
        finally:
            self.model.train(was_training)
        shared: list[Any] = [(summary, self.loop.state_dict())]
        broadcast_object_list(shared)
        summary, state = shared[0]
        self.loop.load_state_dict(state)
        self._tell(summary)
        self.rollout_log.begin(epoch)

    def _prompt_step(self, send: Any) -> EpochSummary:
        on_policy = isinstance(self.reflector, str)
        reflector = self.bound_reflector(lambda prompts: send(Reflect(prompts)))
        bar = self.watch.evolution(self.loop.next_epoch + 1)
        try:
            tools = counted_tools(
                lambda pairs: send(RollOut([(template, sample.id) for template, sample in pairs])),
                reflector,
                self.cost,
                control=ControlGuard(self._tokenizer, self.chat_template),
                on_policy=on_policy,
                progress=bar.update,
                check=self._check_stop,
                elsewhere=self.elsewhere(send, self._check_stop),
            )
            return run_prompt_step(self.loop, tools, self.cost, on_policy)
        finally:
            bar.close()

    def _check_stop(self) -> None:
        if self.stop:
            raise self.stop.error(self.state.global_step, latest_checkpoint(self.run_dir))

    def budget_is_spent(self) -> bool:
        """Whether ``max_cost`` or ``max_rollouts`` is reached. If one rank was asked to stop, all ranks stop."""
        agree_to_stop(self.stop, self.accelerator)
        limits = self.args.max_cost, self.args.max_rollouts
        return limits != (None, None) and global_cost(self.cost).reaches(*limits)

    def global_cost(self) -> CostMeter:
        """What all ranks together have spent so far (collective)."""
        return global_cost(self.cost)

    def end_training(self) -> None:
        """Writes the last epoch's rollouts."""
        if self.accelerator.is_main_process:
            self.rollout_log.write()

    def _tell(self, summary: EpochSummary) -> None:
        """Logs an epoch, and shows it."""
        cost = global_cost(self.cost)
        # HF's log, not TRL's: TRL's would write the averages of the running steps into this row, and reset them.
        Trainer.log(self, epoch_metrics(summary) | cost_metrics(cost))
        if self.accelerator.is_main_process:
            write_json(self.loop.run_dir / "cost.json", cost.state_dict())
            sample = self.watch.epoch_of(summary, self.args, self.state.log_history, self.rollout_log, cost)
            sheets = [template_sheet(summary.epoch + 1, self.loop.method.pool() if summary.evolved else [])]
            sheets += [sample_sheet(summary.epoch + 1, sample)] if sample else []
            send_sheets(self.callback_handler.callbacks, sheets, self.state.global_step)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "train_runtime" in logs and self.loop.ledger.tallies and not self.stop:
            # the last epoch is logged before HF's summary of the run, so that the summary stays the last row.
            self._tell(self.loop.close(write=self.accelerator.is_main_process))
        if self.model.training:  # the cost so far is added to every row
            logs.update(cost_metrics(global_cost(self.cost)))
        super().log(logs, start_time)

    # --- evaluation ----------------------------------------------------------------------------------------

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Bare success on held-out samples, one completion each at ``eval_temperature`` (collective).

        Args:
            eval_dataset: a data set, or a dict of several, as in HF's trainer.

        Returns:
            ``{prefix}_bare_success`` (also by ``eval_group_column``), ``{prefix}_reward``,
            ``{prefix}_completion_length`` and, where some prompts leave no room for a completion, ``{prefix}_no_room``
            (their share; the other figures are of the rest). With ``eval_sampled`` TRL's own figures too.
        """
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        if dataset is None:
            raise ConfigError("evaluate needs an eval_dataset")
        if isinstance(dataset, dict):
            parts = [self.evaluate(part, ignore_keys, f"{metric_key_prefix}_{n}") for n, part in dataset.items()]
            return {name: figure for part in parts for name, figure in part.items()}
        if not self.is_in_train:
            self._last_loaded_step = -1  # the engine may hold old weights: the best ones are loaded at the end
            begin_trackers(self.callback_handler.callbacks, self.args, self.state, self.control, self.model)
        was_training = self.model.training
        self.model.eval()
        sampled = self.sampled_evaluation(dataset, ignore_keys, metric_key_prefix) if self.args.eval_sampled else {}
        with self.cost.timed("evaluate") as spent:
            rollouts = self.roll_out([("", row) for row in dataset], self.args.eval_temperature, "evaluate")
        if self.accelerator.is_main_process:
            spent.add_rollouts(rollouts)
        some_fit(rollouts, metric_key_prefix, self.max_completion_length)
        self.model.train(was_training)
        ids, groups = evaluation_groups(dataset, self.args.eval_group_column)
        self.last_solved = {i: r.solved for i, r in zip(ids, rollouts, strict=True) if r.fits}
        metrics = sampled | evaluation_metrics(rollouts, groups, metric_key_prefix)
        self.last_evaluation = metrics
        Trainer.log(self, dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    # --- state ---------------------------------------------------------------------------------------------

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> Any:
        """Like TRL's; ``True`` resumes from the newest whole checkpoint of the run directory."""
        if resume_from_checkpoint is True:
            resume_from_checkpoint, left = choose_checkpoint(self.run_dir)
            for sentence in left:
                warnings.warn(sentence, stacklevel=2)
        if resume_from_checkpoint:
            self.load_state(Path(resume_from_checkpoint))
        if self.accelerator.is_main_process:
            self.loop.forget_later_epochs()
            if resume_from_checkpoint:
                self.rollout_log.resume(self.loop.next_epoch - 1)
        eval_on_start = self.args.eval_on_start
        self.args.eval_on_start = eval_on_start and not resume_from_checkpoint
        try:
            with lost_peers_explained(self.run_dir):
                output = super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)
        finally:
            self.args.eval_on_start = eval_on_start
            self.watch.view.end()  # an error must not leave a part of the terminal that is redrawn
        self._check_stop()
        return output
