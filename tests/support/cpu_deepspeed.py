"""DeepSpeed on a CPU: accelerate 1.15 leaves it out there, and its shared-memory operator would have to be compiled."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

from accelerate.state import AcceleratorState, DistributedType, PartialState


def allow() -> None:
    """Lets the DeepSpeed plugin that the environment asks for (``ACCELERATE_USE_DEEPSPEED``) count on a CPU too."""
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") != "true" or importlib.util.find_spec("deepspeed") is None:
        return
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # gloo instead
    plain = AcceleratorState.__init__

    def init(self: Any, *args: Any, deepspeed_plugin: Any = None, **kwargs: Any) -> None:
        plain(self, *args, deepspeed_plugin=deepspeed_plugin, **kwargs)
        if deepspeed_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.DEEPSPEED
            plugins = deepspeed_plugin if isinstance(deepspeed_plugin, dict) else {"default": deepspeed_plugin}
            for plugin in plugins.values():
                plugin.set_mixed_precision("no")
            next(iter(plugins.values())).select(_from_accelerator_state=True)
            self.deepspeed_plugins = plugins

    AcceleratorState.__init__ = init


def whole(parameter: Any) -> Any:
    """All of a parameter that FSDP2 or ZeRO-3 may have sharded (collective)."""
    if hasattr(parameter, "full_tensor"):
        return parameter.full_tensor().detach().clone()
    if hasattr(parameter, "ds_id"):
        import deepspeed

        with deepspeed.zero.GatheredParameters([parameter]):
            return parameter.detach().clone()
    return parameter.detach().clone()
