"""Work that rank 0 drives and all ranks carry out (the prompt step), and rollouts shared between the ranks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from accelerate.utils import broadcast_object_list, gather_object

from ..base.stopping import StoppedError, StopRequest
from ..core.cost import CostMeter
from .peers import PeerError

T = TypeVar("T")
Request = TypeVar("Request")


@dataclass(frozen=True)
class _End:
    """Tells the serving ranks that the work has ended, and whether it failed or was stopped."""

    how: str


class RankDriver(Generic[Request]):
    """Rank 0 works and sends requests; every rank, rank 0 included, carries each of them out.

    Args:
        accelerator: accelerate's.
        carry_out: carries out a request; collective, with the same result on every rank.
    """

    def __init__(self, accelerator: Any, carry_out: Callable[[Request], Any]) -> None:
        self.accelerator = accelerator
        self.carry_out = carry_out

    def drive(self, work: Callable[[Callable[[Request], Any]], T]) -> T | None:
        """Runs ``work(send)`` on rank 0, and returns what it returns; the other ranks serve, and return None.

        Raises:
            PeerError: on the other ranks, when the work failed on rank 0.
            StoppedError: on the other ranks, when rank 0 stopped the run.
        """
        if self.accelerator.num_processes == 1:
            return work(self.carry_out)
        if not self.accelerator.is_main_process:
            self._serve()
            return None
        how = "failed"
        try:
            result = work(self._send)
            how = "done"
        except StoppedError:
            how = "stopped"
            raise
        finally:
            broadcast_object_list([_End(how)])
        return result

    def _send(self, request: Request) -> Any:
        broadcast_object_list([request])
        return self.carry_out(request)

    def _serve(self) -> None:
        while True:
            received: list[Any] = [None]
            broadcast_object_list(received)
            request = received[0]
            if not isinstance(request, _End):
                self.carry_out(request)
            elif request.how == "done":
                return
            elif request.how == "stopped":
                raise StoppedError("training stopped together with rank 0")
            else:
                raise PeerError("the prompt step failed on rank 0; its own error says why")


def share(items: Sequence[T], accelerator: Any) -> list[int]:
    """Indices of this rank's items. All ranks get the same number; for that, the last indices may be repeats."""
    world, rank = accelerator.num_processes, accelerator.process_index
    size = -(-len(items) // world)
    return [(rank * size + n) % len(items) for n in range(size)]


def gather_shared(mine: Sequence[int], results: Sequence[T], total: int) -> list[T]:
    """The results of all ranks in the order of the items (collective)."""
    found = dict(gather_object(list(zip(mine, results, strict=True))))
    return [found[i] for i in range(total)]


def on_main(objects: list[T], accelerator: Any) -> list[T]:
    """The objects of all ranks in their order, on rank 0; nothing on the others (collective)."""
    if accelerator.num_processes == 1:
        return objects
    received: Any = [None] * accelerator.num_processes if accelerator.is_main_process else None
    torch.distributed.gather_object(objects, received)
    return [item for part in received or [] for item in part]


def gather_values(local: torch.Tensor, accelerator: Any) -> torch.Tensor:
    """(N,) the values of all ranks, without NaN (collective). Each rank may have a different number of values."""
    padded: torch.Tensor = accelerator.gather(accelerator.pad_across_processes(local, pad_index=math.nan))
    return padded[~padded.isnan()]


def global_cost(own: CostMeter) -> CostMeter:
    """The counts of all ranks together, with rank 0's seconds (collective)."""
    total = CostMeter()
    for rank, state in enumerate(gather_object([own.state_dict()])):
        for phase in total.phases:
            counts = {k: v for k, v in state[phase].items() if k != "cost" and (k != "seconds" or rank == 0)}
            total.phases[phase].add(**counts)
    return total


def agree_to_stop(request: StopRequest, accelerator: Any) -> None:
    """If one process was asked to stop, asks all of them to stop (collective)."""
    if accelerator.num_processes > 1:
        for reason, exit_code in gather_object([(request.reason, request.exit_code)]):
            if reason is not None:
                request.make(reason, exit_code)
