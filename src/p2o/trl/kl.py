"""The KL term of a credit on TRL: KL(π(· | T(x, z)) ‖ π(· | x)), or the reverse, on the tokens of the taught rollouts.

TRL's forward pass returns log-probs of the drawn tokens alone. The distributions are made from the backbone's last
hidden states, which are taken as they pass: the teacher's in a pass on T(x, z), the student's in the loss's own on x.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from ..core.divergence import forward_kl, reverse_kl
from ..core.kl_term import KlTerm
from ..errors import ConfigError
from .batch import model_tokens

SCALES = ("final_logit_softcapping", "logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling")
"""Keys of a model's configuration that change its logits after the head."""

TEACHER = ("teacher_ids", "teacher_logps", "teacher_mask")
"""(B, T, K), (B, T, K) and (B, T) tensors of a batch: the teacher's K likeliest tokens at each token, and where it has
been asked."""


@dataclass(frozen=True)
class Head:
    """A model's backbone and its head, for distributions over the vocabulary."""

    backbone: torch.nn.Module
    lm_head: torch.nn.Module
    temperature: float

    def logps(self, hidden: torch.Tensor) -> torch.Tensor:
        """(…, H) last hidden states → (…, V) log-probs."""
        logits: torch.Tensor = self.lm_head(hidden)
        return (logits.float() / self.temperature).log_softmax(-1)

    @contextmanager
    def listening(self) -> Iterator[list[torch.Tensor]]:
        """Collects the backbone's last hidden states, (B, prompt + completion, H) of each forward pass."""
        seen: list[torch.Tensor] = []
        handle = self.backbone.register_forward_hook(lambda module, args, output: seen.append(output.last_hidden_state))
        try:
            yield seen
        finally:
            handle.remove()


def head_of(model: Any, temperature: float) -> Head:
    """The backbone and the head of an unwrapped model, PEFT or not.

    Raises:
        ConfigError: its logits are not the head's output.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    config = inner.config.get_text_config()
    if scaled := [key for key in SCALES if getattr(config, key, None) not in (None, 1.0)]:
        raise ConfigError(
            f"a KL term needs logits that come from the head as they are, and {scaled[0]} of "
            f"{config._name_or_path or 'this model'} changes them; take a method and a distillation without one"
        )
    return Head(inner.base_model, inner.get_output_embeddings(), temperature)


def teach(output: dict[str, Any], rows: list[int], hidden: list[torch.Tensor], head: Head, top_k: int) -> None:
    """Writes the teacher's distributions into the batch.

    Args:
        rows: those that have a teacher.
        hidden: what `Head.listening` collected while their completions were scored on T(x, z); rows that only filled up
            the passes are at its end.
    """
    mask_BT = model_tokens(output)
    shape = (*mask_BT.shape, top_k)
    ids = torch.zeros(shape, dtype=torch.int64, device=mask_BT.device)
    logps = torch.zeros(shape, device=mask_BT.device)
    asked = torch.zeros_like(mask_BT)
    if rows:
        found = torch.cat([_before_completion(h, mask_BT.size(1)) for h in hidden])[: len(rows)]
        for n, states in zip(
            rows, found, strict=True
        ):  # one row at a time: distributions over the vocabulary are large
            with torch.no_grad():
                best = head.logps(states).topk(top_k, dim=-1)
            ids[n], logps[n], asked[n] = best.indices, best.values, mask_BT[n]
    output |= dict(zip(TEACHER, (ids, logps, asked), strict=True))


def kl_loss(inputs: dict[str, Any], hidden: list[torch.Tensor], head: Head, term: KlTerm) -> torch.Tensor:
    """Sum over this micro-batch's tokens; scalar with gradient.

    Args:
        hidden: of the loss's own forward pass.
    """
    ids, logps, asked = (inputs[name] for name in TEACHER)
    where = asked.bool()
    student_NV = head.logps(_before_completion(hidden[0], asked.size(1))[where])
    divergence = reverse_kl if term.reverse else forward_kl
    return term.weight * divergence(student_NV, ids[where], logps[where], term.clip).sum()


def _before_completion(hidden: torch.Tensor, width: int) -> torch.Tensor:
    """(B, T, H): the state from which each completion token is predicted."""
    return hidden[:, -width - 1 : -1]
