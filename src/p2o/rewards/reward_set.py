"""Several rewards with weights, as the loop and as TRL use them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

from ..core.hard import is_solved
from ..core.samples import Message, Sample, content_text
from ..data import sample_of
from ..errors import RewardError
from .answer import AnswerReward
from .environment import EnvironmentReward
from .function import FunctionReward
from .score import Reward, Score, Scored
from .verifier_pool import shared_pool
from .verifier_worker import Kind


class RewardSet:
    """Several rewards with weights, and the one that says what *solved* means."""

    def __init__(
        self,
        rewards: Sequence[Reward],
        weights: Sequence[float] | None = None,
        success_reward_name: str | None = None,
        success_threshold: float = 1.0,
    ) -> None:
        """``weights`` default to 1, ``success_reward_name`` to the first reward.

        Raises:
            RewardError: there are no rewards, two of one name, a wrong number of weights, or an unknown success
                reward.
        """
        names = [reward.name for reward in rewards]
        if not names:
            raise RewardError("no reward is given; name at least one")
        if len(set(names)) < len(names):
            raise RewardError(f"two rewards have the same name ({', '.join(names)}); give one another name")
        if weights is not None and len(weights) != len(names):
            raise RewardError(f"{len(weights)} reward weights are given for {len(names)} rewards")
        if success_reward_name is not None and success_reward_name not in names:
            raise RewardError(
                f"the success reward {success_reward_name!r} is not among the rewards ({', '.join(names)})"
            )
        self.rewards = list(rewards)
        self.weights = [1.0] * len(names) if weights is None else [float(weight) for weight in weights]
        self.success_reward_name = success_reward_name or names[0]
        self.success_threshold = success_threshold

    def score(
        self, completions: Sequence[str | Sequence[Message]], samples: Sequence[Sample], **context: Any
    ) -> list[Scored]:
        """Scores each completion of its sample.

        Args:
            completions: N texts, or the messages of several turns.
            samples: their N samples.
            context: what TRL passes to reward functions beside the columns, such as ``completion_ids``.
        """
        names = [reward.name for reward in self.rewards]
        texts = [answer_of(completion) for completion in completions]
        turns = {} if all(isinstance(completion, str) for completion in completions) else {"turns": completions}
        by_reward = [
            reward.score(texts, samples, **context, **(turns if isinstance(reward, FunctionReward) else {}))
            for reward in self.rewards
        ]
        return [self._join(dict(zip(names, row, strict=True))) for row in zip(*by_reward, strict=True)]

    def _join(self, scores: Mapping[str, Score]) -> Scored:
        values = {name: score.reward for name, score in scores.items()}
        total = sum(w * v for w, v in zip(self.weights, values.values(), strict=True) if v is not None)
        texts = [score.feedback if len(scores) == 1 else f"{name}: {score.feedback}" for name, score in scores.items()]
        success = values[self.success_reward_name]
        return Scored(float(total), values, is_solved(success, self.success_threshold), "\n".join(texts))

    def check_gold(self, samples: Sequence[Sample]) -> None:
        """Checks that the built-in rewards can compare all right answers.

        Raises:
            DataError: one cannot be compared; names it and its row.
        """
        for reward in self.rewards:
            if isinstance(reward, AnswerReward):
                reward.check_gold(samples)

    def counts(self) -> dict[str, int]:
        """How many checks of this process were lost (timeout, crash, failed), and not_scorable rewards."""
        lost: Counter[str] = Counter()
        for kind in get_args(Kind):
            lost.update(shared_pool(kind).counts)
        functions = [reward for reward in self.rewards if isinstance(reward, FunctionReward)]
        return {name: lost[name] for name in ("timeout", "crash", "failed")} | {
            "not_scorable": sum(function.not_scorable for function in functions)
        }

    def trl_functions(self) -> list[Callable[..., list[float | None]]]:
        """One reward function per reward, as GRPOTrainer takes them, named after it; without those of environments,
        which GRPOTrainer finds itself."""
        return [_trl_function(reward) for reward in self.rewards if not isinstance(reward, EnvironmentReward)]


def _trl_function(reward: Reward) -> Callable[..., list[float | None]]:
    def function(
        prompts: list[Any], completions: list[Any], completion_ids: Any = None, **columns: Any
    ) -> list[float | None]:
        if isinstance(reward, FunctionReward):  # as TRL called it, with its completions as they are
            arguments = {"prompts": prompts, "completions": completions, "completion_ids": completion_ids}
            scores = reward.call(**arguments, **columns)
        else:
            rows = {name: column for name, column in columns.items() if isinstance(column, list)}
            samples = [
                sample_of({"prompt": prompt, **{name: column[i] for name, column in rows.items()}})
                for i, prompt in enumerate(prompts)
            ]
            context = {name: value for name, value in columns.items() if name not in rows}
            texts = [answer_of(completion) for completion in completions]
            scores = reward.score(texts, samples, completion_ids=completion_ids, **context)
        if "log_extra" in columns:  # TRL takes numbers alone; the feedback goes beside, into its completions table
            columns["log_extra"](f"{reward.name}/feedback", [score.feedback for score in scores])
        return [score.reward for score in scores]

    function.__name__ = reward.name
    function.has_deadline = True  # type: ignore[attr-defined]  # of its own: `deadline.watch` leaves it alone
    return function


def text_of(completion: Any) -> str:
    """The text of a completion as TRL hands it out: a string, or messages (their contents, joined)."""
    if isinstance(completion, str):
        return completion
    return "\n".join(content_text(message.get("content")) for message in completion)


def answer_of(completion: Any) -> str:
    """What is judged of a completion: its text; of several turns the last answer, "" where a tool has the last word."""
    if isinstance(completion, str) or len(completion) < 2:
        return text_of(completion)
    last = completion[-1]
    return content_text(last.get("content")) if last.get("role") == "assistant" else ""
