"""What verl's plug-in entry point loads in every process: registers the trainer and the agent loop."""

from verl.models.transformers import monkey_patch

from . import agent_loop, trainer

__all__ = ["agent_loop", "trainer"]

# Where TRL is installed, verl 0.9.1 patches a class for critics that TRL 1.16 (which this package needs) no longer has,
# and does not start.
monkey_patch.is_trl_available = lambda: False
