"""A verl reward function: the last number of the text is the answer."""

from p2o.rewards import last_number

NOTED = "Noted."
"""What the tool and the environment of `user_loops` answer."""


def compute_score(data_source, solution_str, ground_truth, extra_info=None, **kwargs):
    answer = last_number(solution_str)
    if answer is None:
        return {"score": 0.0, "feedback": "Wrong format: no number in the answer. Reward: 0."}
    right = answer == ground_truth
    told = "Right answer." if right else f"Wrong answer: {answer}. The right answer is {ground_truth}."
    return {"score": float(right), "feedback": f"{told} Reward: {float(right):g}."}


def compute_first_turn(data_source, solution_str, ground_truth, extra_info=None, **kwargs):
    """The score of what the model said before it was answered."""
    return compute_score(data_source, solution_str.split(NOTED)[0], ground_truth)
