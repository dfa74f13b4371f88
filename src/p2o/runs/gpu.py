"""Is there a GPU? Recipes are read differently with one and without."""

from __future__ import annotations


def gpu_is_here() -> bool:
    """Whether torch finds an accelerator."""
    import torch

    return torch.accelerator.is_available()
