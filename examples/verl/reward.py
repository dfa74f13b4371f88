r"""A verl reward function on this package's verifier: the answer in the last \boxed{}, compared by math-verify.

Set reward.custom_reward_function.path to this file. `feedback` is what a reflector is told.
"""

from p2o.core.samples import Sample
from p2o.rewards import resolve_reward

BOXED = resolve_reward("boxed")


def compute_score(data_source, solution_str, ground_truth, extra_info=None, **kwargs):
    """verl's signature: the score of one completion (1 or 0), and feedback on it."""
    (score,) = BOXED.score([solution_str], [Sample("", (), str(ground_truth))])
    return {"score": score.reward or 0.0, "feedback": score.feedback}
