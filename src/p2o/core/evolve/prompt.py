"""The reflection prompt: what a reflector is asked."""

from __future__ import annotations

from collections.abc import Sequence

from ...base.text import shorten

Record = tuple[str, str, str, float]
"""(question, completion, feedback, reward) of one rollout."""

_PROMPT = """\
A language model solves tasks of one kind. A general instruction is put in front of every task, a blank \
line follows, then the task. The instruction in use now is:
```
{template}
```

Here is what the model was asked, what it wrote under this instruction, and how that was judged:

{records}
{partner}
Write a better instruction. Find out from the tasks what is asked for in general, from the judgements what \
form and content are wanted, and from what was written where the model goes wrong and which way of working \
succeeds. Put all of that into directions that help with new tasks of this kind which nobody has seen yet. \
Do not mention these particular tasks, and give no answer, number or solution of any of them: whatever fits \
one task only is useless. Write the complete new instruction, and nothing else, between ``` and ```."""

_PARTNER = """
Under another instruction the model succeeds on tasks on which it fails under this one. Join both: keep of each what \
makes it succeed. The other instruction:
```
{partner}
```
"""

_RECORD = """\
## Task {i}
{question}

### What the model wrote
{completion}

### Judgement (reward {reward:g})
{feedback}"""

_LEAST_OUTPUT = 200  # when outputs would become shorter than this, all texts are shortened


def _cap(lengths: Sequence[int], room: int) -> int:
    """The largest cap so that the lengths, each cut to the cap, fit into the room."""
    left = max(0, room)
    for i, n in enumerate(sorted(lengths)):
        share = left // (len(lengths) - i)
        if n > share:
            return share
        left -= n
    return max(lengths, default=0)


def reflection_prompt(template: str, records: Sequence[Record], max_chars: int, partner: str = "") -> tuple[str, bool]:
    """The prompt for one proposal, and whether texts were shortened. It asks what GEPA's prompt asks, in other words.

    Outputs are shortened first. When too little of them would be left, all texts are shortened.

    Args:
        partner: a second parent's template, to be joined with the first.
    """

    def render(cap_output: int, cap_other: int) -> str:
        parts = [
            _RECORD.format(
                i=i, question=shorten(q, cap_other), completion=shorten(c, cap_output),
                feedback=shorten(f, cap_other), reward=r,
            )
            for i, (q, c, f, r) in enumerate(records, 1)
        ]  # fmt: skip
        other = _PARTNER.format(partner=shorten(partner, cap_other)) if partner else ""
        return _PROMPT.format(template=shorten(template, cap_other), records="\n\n".join(parts), partner=other)

    longest = max([len(template), len(partner), *(len(t) for q, c, f, _ in records for t in (q, c, f))])
    full = render(longest, longest)
    if len(full) <= max_chars:
        return full, False
    outputs = [len(c) for _, c, _, _ in records]
    room = max_chars - len(render(0, longest))
    cap = _cap(outputs, room)
    if room >= 0 and cap >= min(_LEAST_OUTPUT, max(outputs, default=0)):
        return render(cap, longest), True
    texts = [len(template), len(partner), *(len(t) for q, c, f, _ in records for t in (q, c, f))]
    cap = _cap(texts, max_chars - len(render(0, 0)))
    return render(cap, cap), True
