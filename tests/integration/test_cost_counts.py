"""The counts of p2o.core.cost against counts made at the model itself: every call of generate and of forward."""

from collections import Counter
from contextlib import contextmanager

import pytest
import torch

from helpers import ALL_FOUR, hard_rows, last_number, settings
from p2o import P2OConfig, P2OTrainer
from p2o.core.evolve import Reply
from p2o.generation import efficient
from p2o.generation.models import resolve_model


class Watch:
    """Counts tokens where they pass through the model, by the place in the program they come from."""

    def __init__(self, trainer, monkeypatch):
        self.counts = Counter()
        self.place = "rollout"
        self.generating = False
        model, generate, draw = trainer.model, trainer.model.generate, efficient.draw
        self.eos = trainer.processing_class.eos_token_id

        def watched_generate(input_ids=None, attention_mask=None, **kwargs):
            self.generating = True
            try:
                output = generate(input_ids=input_ids, attention_mask=attention_mask, **kwargs)
            finally:
                self.generating = False
            self._count(attention_mask.sum(1).tolist(), output[:, input_ids.size(1) :])
            return output

        def watched_draw(model, prompts, *args, **kwargs):
            drawn = draw(model, prompts, *args, **kwargs)
            self._count([len(ids) for ids in prompts], drawn.ids)
            return drawn

        def watched_forward(module, args, kwargs):
            if not self.generating and not kwargs.get("use_cache"):  # with a cache it is part of a drawing
                place = "trained_tokens" if torch.is_grad_enabled() else "scored_tokens"
                self.counts[place] += int(kwargs["attention_mask"].sum())

        model.generate = watched_generate
        monkeypatch.setattr(efficient, "draw", watched_draw)
        model.register_forward_pre_hook(watched_forward, with_kwargs=True)
        for method, place in (("evaluate", "evaluate"), ("begin_epoch", "evolve")):
            setattr(trainer, method, self._inside(getattr(trainer, method), place))

    @contextmanager
    def at(self, place):
        before, self.place = self.place, place
        yield
        self.place = before

    def _count(self, prompt_lengths, completions):
        self.counts[self.place, "rollouts"] += len(completions)
        self.counts[self.place, "prompt_tokens"] += sum(prompt_lengths)
        for row in completions.tolist():
            length = row.index(self.eos) + 1 if self.eos in row else len(row)
            self.counts[self.place, "generated_tokens"] += length

    def _inside(self, method, place):
        def watched(*args, **kwargs):
            with self.at(place):
                return method(*args, **kwargs)

        return watched


@pytest.mark.parametrize(("distillation", "passes"), [("mask", False), ("importance", True)])
def test_counts_equal_what_passed_through_the_model(tmp_path, monkeypatch, distillation, passes):
    config = P2OConfig(
        **settings(tmp_path, num_train_epochs=2, eval_strategy="epoch"),
        hard_min_count=2,
        dev_size=2,
        evolve_budget="24",
        evolve_max_iterations=2,
        withdrawal="graduated",
        distillation=distillation,
    )
    trainer = P2OTrainer(
        resolve_model("builtin:sandbox"),
        last_number,
        config,
        train_dataset=hard_rows(8),
        eval_dataset=hard_rows(5, "dev"),
        reflector=lambda jobs: [Reply(f"```\n{ALL_FOUR}\n```", None, 30, 20) for _ in jobs],
    )
    watch = Watch(trainer, monkeypatch)
    trainer.train()
    cost = trainer.cost
    for phase in ("rollout", "evolve", "evaluate"):
        for name in ("rollouts", "prompt_tokens", "generated_tokens"):
            assert getattr(cost[phase], name) == watch.counts[phase, name] > 0, (phase, name)
    assert cost["train"].trained_tokens == watch.counts["trained_tokens"] > 0
    assert cost["ratio"].scored_tokens == watch.counts["scored_tokens"]
    assert bool(watch.counts["scored_tokens"]) is passes  # else the loss's own pass gives the ratios
    assert cost["reflect"].teacher_tokens > 0
    assert cost["reflect"].teacher_tokens % 50 == 0
    logged = [row for row in trainer.state.log_history if "p2o/cost" in row]
    assert logged[-1]["p2o/cost"] == cost.training_cost
    assert sum("loss" in row for row in logged) == trainer.state.global_step
    assert any("p2o/ratio_q50" in row and "p2o/ratio_below" in row for row in logged) is not passes
