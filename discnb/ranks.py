"""The processes of one run: `torchrun` starts several, each with a rank; without it there is one, of rank 0."""

import resource
import sys
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from .devices import model_flops_utilisation

Value = TypeVar("Value")

PATIENCE = timedelta(hours=24)
"""How long ranks wait for one another: rank 0 may be at a stage that is its alone."""


def join() -> None:
    """Join the other processes that `torchrun` started, if it did; the way in calls this, the library does not."""
    if dist.is_torchelastic_launched() and not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(device())
        # both: tensors on GPUs go through NCCL, what ranks tell one another through gloo
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def wait() -> None:
    """Return when every rank has come here."""
    share(None)


def share(value: Value) -> Value:
    """What rank 0 has for `value`, on every rank."""
    if world() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    return box[0]


def gather(value: Value) -> list[Value]:
    """Every rank's `value`, in the order of ranks."""
    if world() == 1:
        return [value]
    values: list[Value] = [value] * world()
    dist.all_gather_object(values, value)
    return values


def device() -> torch.device:
    """Where this process computes: its own GPU, or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", dist.get_node_local_rank(fallback_rank=0))


def peak_bytes() -> int:
    """The most memory this process has held: of tensors on its GPU, or of the whole process on a CPU."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def speed(tokens: int, seconds: float, flops_per_token: float, *, bf16: bool) -> dict[str, float | None]:
    """Of all ranks' `tokens` in so many seconds: per second, FLOP/s and MFU of a rank, the highest peak of memory."""
    rate = tokens / max(seconds, 1e-9)
    flops = rate * flops_per_token / world()
    return {
        "tokens_per_second": rate,
        "flops_per_second": flops,
        "mfu": model_flops_utilisation(flops, bf16=bf16),
        "peak_bytes": max(gather(peak_bytes())),
    }
