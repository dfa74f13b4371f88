"""The text of a model card, and of the page that shows a pool. Pure: facts in, Markdown out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from ..base.markdown import fenced, table
from ..base.terminal import percent
from ..core.templates import PoolTemplate

REFERENCES = """\
```bibtex
@article{lu2026p2o,
  title   = {{P\\textsuperscript{2}O}: Joint Policy and Prompt Optimization},
  author  = {Lu, Xinyu and Zhang, Kaiqi and Yang, Jinglin and Cao, Boxi and Lu, Yaojie and Lin, Hongyu and He, Min \
and Han, Xianpei and Sun, Le},
  journal = {arXiv preprint arXiv:2603.21877},
  year    = {2026}
}
@article{agrawal2025gepa,
  title   = {{GEPA}: Reflective Prompt Evolution Can Outperform Reinforcement Learning},
  author  = {Agrawal, Lakshya A and others},
  journal = {arXiv preprint arXiv:2507.19457},
  year    = {2025}
}
@article{shao2024deepseekmath,
  title   = {{DeepSeekMath}: Pushing the Limits of Mathematical Reasoning in Open Language Models},
  author  = {Shao, Zhihong and others},
  journal = {arXiv preprint arXiv:2402.03300},
  year    = {2024}
}
```
"""

METHODS = {
    "p2o": "P²O ([arXiv 2603.21877](https://arxiv.org/abs/2603.21877)): GRPO "
    "([arXiv 2402.03300](https://arxiv.org/abs/2402.03300)) on verifiable rewards, in which prompt templates for the "
    "samples that GRPO fails on are evolved by GEPA ([arXiv 2507.19457](https://arxiv.org/abs/2507.19457)) and "
    "distilled into the bare prompt",
    "grpo": "GRPO ([arXiv 2402.03300](https://arxiv.org/abs/2402.03300)) on verifiable rewards, as the baseline of "
    "P²O ([arXiv 2603.21877](https://arxiv.org/abs/2603.21877)) and its GEPA "
    "([arXiv 2507.19457](https://arxiv.org/abs/2507.19457)); no templates were evolved",
}


@dataclass(frozen=True)
class CardFacts:
    """All that a card says. Paths are public names already (see `p2o.runs.export.public_name`)."""

    name: str
    method: str
    base_model: str
    base_on_hub: bool
    adapter: bool
    """The weights are a LoRA adapter."""
    settings: Mapping[str, Any]
    """What was run: recipe, data, rewards, reflector, seed and the like, in the order of the table."""
    hub_data: Sequence[str]
    before: Mapping[str, float] | None
    after: Mapping[str, float] | None
    """Evaluations on the test data before and after training; always bare."""
    epochs: Sequence[Mapping[str, Any]]
    """The summaries of the epochs (`p2o.core.loop.EpochSummary`)."""
    cost: Mapping[str, Any]
    seconds: float | None
    versions: Mapping[str, str]
    pool: Sequence[PoolTemplate] = field(default_factory=tuple)


def model_card(facts: CardFacts) -> str:
    """The model card (README.md): YAML header for the hub, then what a reader wants to know."""
    header: dict[str, Any] = {
        "library_name": "peft" if facts.adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["p2o", "gepa", "grpo", "trl", *(["lora"] if facts.adapter else [])],
    }
    if facts.base_on_hub:
        header["base_model"] = facts.base_model
    if facts.hub_data:
        header["datasets"] = list(facts.hub_data)
    base = f"[{facts.base_model}](https://huggingface.co/{facts.base_model})" if facts.base_on_hub else facts.base_model
    parts = [
        f"---\n{yaml.safe_dump(header, sort_keys=False)}---",
        f"# {facts.name}",
        f"{base}, trained with {_method(facts.method)}. Made with p2o on TRL's GRPOTrainer.",
        "Use it with plain prompts: templates were scaffolds of the training, none is needed or stored in the weights' "
        "chat template, which is the base model's. The base model's licence holds.",
        _usage(facts),
        "## Results\n\n" + _results(facts),
        "## Training\n\n" + table(("what", "value"), list(facts.settings.items())),
    ]
    if facts.epochs:
        parts.append("### Epochs\n\n" + _epochs(facts.epochs))
    templates = [t for t in facts.pool if t.text]
    if templates:
        best = max(templates, key=lambda t: t.weight)
        which, solved = ("The best", f"Its mean reward on the hard dev samples was {best.weight:.3f}.")
        if not best.scored:
            which, solved = "The first", "The templates were taken unscored."
        parts.append(f"### {which} of {len(templates)} templates of the last pool\n\n{solved}\n\n{fenced(best.text)}")
    parts.append("## Cost\n\n" + _cost(facts))
    parts.append("## Credits\n\nP²O is by Lu, Zhang et al., GEPA by Agrawal et al., GRPO by Shao et al.; the trainer "
                 "is [TRL](https://github.com/huggingface/trl).\n\n" + REFERENCES)  # fmt: skip
    parts.append("Versions: " + ", ".join(f"{k} {v}" for k, v in facts.versions.items()) + ".")
    return "\n\n".join(parts) + "\n"


def _method(name: str) -> str:
    """A method in words; one of the user's own by its name."""
    own = f"the method `{name}` on GRPO ([arXiv 2402.03300](https://arxiv.org/abs/2402.03300)) with verifiable rewards"
    return METHODS.get(name, own)


def _usage(facts: CardFacts) -> str:
    imports, loader = (
        (
            "from peft import AutoPeftModelForCausalLM\nfrom transformers import AutoTokenizer",
            "AutoPeftModelForCausalLM",
        )
        if facts.adapter
        else ("from transformers import AutoModelForCausalLM, AutoTokenizer", "AutoModelForCausalLM")
    )
    return (
        f'```python\n{imports}\n\nmodel = {loader}.from_pretrained("this-model")\n'
        'tokenizer = AutoTokenizer.from_pretrained("this-model")\n'
        'chat = [{"role": "user", "content": "…"}]\n'
        "inputs = tokenizer.apply_chat_template(\n"
        '    chat, add_generation_prompt=True, return_dict=True, return_tensors="pt"\n)\n'
        "print(tokenizer.decode(model.generate(**inputs, max_new_tokens=1024)[0]))\n```"
    )


def _results(facts: CardFacts) -> str:
    lines = []
    if facts.after:
        rows = []
        for key, value in facts.after.items():
            if "_bare_success" in key:
                label = key.replace("_bare_success", "").replace("_", " ")
                rows.append((label, percent((facts.before or {}).get(key)), percent(value)))
        lines.append("Success on held-out data, greedy unless the settings below say otherwise, without "
                     "any template:\n\n" + table(("held-out samples", "before", "after"), rows))  # fmt: skip
    else:
        lines.append("No held-out data was evaluated.")
    templated = [e for e in facts.epochs if e.get("templated_success") is not None]
    if templated:
        last = templated[-1]
        lines.append(
            f"With templates: in epoch {last['epoch'] + 1}, the last one that used them, "
            f"{percent(last['templated_success'])} of the rollouts under a template were solved, and "
            f"{percent(last['bare_success'])} of the bare ones (training samples; the hard ones are templated)."
        )
        if last.get("paired_bare_success") is not None:
            lines.append(
                f"On the samples that were rolled out both ways: {percent(last['paired_templated_success'])} under a "
                f"template, {percent(last['paired_bare_success'])} bare."
            )
    elif facts.method == "p2o":
        lines.append("With templates: no rollout of the training was drawn under a template.")
    return "\n\n".join(lines)


def _epochs(epochs: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (e["epoch"] + 1, e["groups"], e["all_failed"], e["hard"], percent(e.get("bare_success")),
         percent(e.get("templated_success")), e["helping"] if e["evolved"] else "–")
        for e in epochs
    ]  # fmt: skip
    head = ("epoch", "groups", "all failed", "hard", "bare success", "templated success", "templates that help")
    return table(head, rows)


def _cost(facts: CardFacts) -> str:
    rows = [
        (phase, *(f"{counts.get(name, 0):,}" for name in ("rollouts", "generated_tokens", "trained_tokens", "cost")))
        for phase, counts in facts.cost.items()
        if isinstance(counts, Mapping) and counts.get("cost")
    ]
    total = f"{facts.cost.get('training_cost', 0):,}"
    spent = "" if facts.seconds is None else f", {facts.seconds:,.0f} s"
    head = ("phase", "rollouts", "generated tokens", "trained tokens", "cost")
    return (
        f"{total} forward-equivalent tokens without the evaluations{spent} (a token read, generated or scored counts "
        "1, a trained one 3).\n\n" + table(head, rows)
    )


def pool_page(pool: Sequence[PoolTemplate], dev_size: int, name: str, when: str) -> str:
    """The pool as a Markdown page, the best template first. ``when``: of which evolution, in words."""
    templates = sorted((t for t in pool if t.text), key=lambda t: -t.weight)
    parts = [f"# Templates of {name}"]
    if not templates:
        parts.append("No template solved any hard sample.")
    else:
        kept = (
            f"What the evolution {when} kept: a few templates that together solve whatever any of its candidates "
            f"solved of {dev_size} hard dev samples."
            if all(t.scored for t in templates)
            else f"What the reflector proposed {when}, unscored."
        )
        parts.append(
            f"{kept} A template is put before the user's text, a blank line between them. Models wrote these texts."
        )
    for number, template in enumerate(templates, 1):
        solved = (
            f"solves {len(template.solves)} of {dev_size} dev samples, mean reward {template.weight:.3f}"
            if template.scored
            else "not scored"
        )
        parts.append(f"## {number}. {solved}\n\n{fenced(template.text)}")
    if any(not t.text for t in pool):
        parts.append("The bare prompt is in the pool too: it solves some samples that no template solves.")
    return "\n\n".join(parts) + "\n"
