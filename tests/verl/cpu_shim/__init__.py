"""For the tests alone: lets stock verl 0.9 run on a machine without an accelerator.

Loaded by verl in every process through VERL_USE_EXTERNAL_MODULES=cpu_shim. Registers a platform "cpu" (which calls
itself a GPU towards Ray) and a rollout server "cpu_hf" that generates with transformers.
"""

import contextlib
import os
import types

import torch
from verl.plugin.platform.platform_base import PlatformBase
from verl.plugin.platform.platform_manager import PlatformRegistry, set_platform


class _Nothing:
    """Stands for streams and events."""

    def __init__(self, *args, **kwargs): ...

    def __call__(self, *args, **kwargs):
        return self

    def __getattr__(self, name):
        return lambda *args, **kwargs: None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return False


def _device_module() -> types.ModuleType:
    """`torch.cpu` with what verl asks of `torch.cuda`."""
    module = types.ModuleType("cpu_device")
    vars(module).update({name: getattr(torch.cpu, name) for name in dir(torch.cpu)})
    nothing = [
        "set_device", "empty_cache", "ipc_collect", "synchronize", "reset_peak_memory_stats",
        "set_per_process_memory_fraction",
    ]  # fmt: skip
    zero = ["memory_allocated", "memory_reserved", "max_memory_allocated", "max_memory_reserved", "current_device"]
    vars(module).update(
        dict.fromkeys(nothing, lambda *args, **kwargs: None)
        | dict.fromkeys(zero, lambda *args, **kwargs: 0)
        | {
            "is_available": lambda: True,
            "device_count": lambda: 1,
            "mem_get_info": lambda *args, **kwargs: (1 << 34, 1 << 34),
            "get_rng_state": lambda *args, **kwargs: torch.get_rng_state(),
            "set_rng_state": lambda state, *args, **kwargs: torch.set_rng_state(state),
            "get_device_name": lambda *args, **kwargs: "cpu",
            "Stream": _Nothing,
            "Event": _Nothing,
            "current_stream": lambda *args, **kwargs: _Nothing(),
            "stream": lambda *args, **kwargs: contextlib.nullcontext(),
        }
    )
    return module


_MODULE = _device_module()


@PlatformRegistry.register(platform="cpu")
class PlatformCPU(PlatformBase):
    device_name = property(lambda self: "cpu")
    vendor_name = property(lambda self: "cpu")
    device_module = property(lambda self: _MODULE)

    def is_available(self):
        return True

    def current_device(self):
        return torch.device("cpu")

    def device_count(self):
        return 1

    def set_device(self, index): ...

    def synchronize(self, index=None): ...

    def manual_seed(self, seed):
        torch.manual_seed(seed)

    manual_seed_all = manual_seed

    def set_allocator_settings(self, settings): ...

    def empty_cache(self): ...

    def get_device_capability(self, index=0):
        return (None, None)

    def communication_backend_name(self):
        return "gloo"

    def visible_devices_envvar(self):
        return "CUDA_VISIBLE_DEVICES"

    @contextlib.contextmanager
    def nvtx_range(self, message):
        yield

    def profiler_start(self): ...

    def profiler_stop(self): ...

    def ray_resource_name(self):
        return "GPU"

    def ray_noset_envvars(self):
        return []

    def is_ipc_supported(self):
        return False

    def cudart(self):
        return None


os.environ["VERL_PLATFORM"] = "cpu"
os.environ["VERL_ENGINE_DEVICE"] = "cuda"  # picks the FSDP engine
set_platform(PlatformCPU())

import verl.utils.distributed  # noqa: E402
import verl.workers.rollout.base  # noqa: E402
from verl.workers.rollout.replica import RolloutReplicaRegistry  # noqa: E402


def _init_gloo(timeout_second=None, backend=None):
    if not torch.distributed.is_initialized():
        rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        torch.distributed.init_process_group("gloo", rank=rank, world_size=world)


def _load_replica():
    from cpu_shim.server import CPUReplica

    return CPUReplica


torch.Tensor.pin_memory = lambda self, *args, **kwargs: self  # FSDP's offload of a reference policy asks for it
verl.utils.distributed.initialize_global_process_group_ray = _init_gloo
verl.workers.rollout.base._ROLLOUT_REGISTRY[("cpu_hf", "async")] = "cpu_shim.server.ServerAdapter"
RolloutReplicaRegistry.register("cpu_hf", _load_replica)
