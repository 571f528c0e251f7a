"""What a run may be planned on: memory and peak speed of GPUs, and of this machine's CPU."""

import difflib
import os
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device's memory in bytes and its peak in FLOP/s: of dense bfloat16 products, and of float32 ones."""

    memory: int
    bf16: float
    float32: float


def _gpu(gigabytes: float, bf16: float, float32: float) -> Device:
    return Device(memory=int(gigabytes * 1e9), bf16=bf16 * 1e12, float32=float32 * 1e12)


# Nominal memory in GB (10⁹ bytes; drivers report a little more) and TFLOP/s without sparsity, float32 outside the
# tensor cores, from NVIDIA's data sheets: H100 and H200 SXM, B200 (an eighth of DGX B200), A100 SXM, L40S, L4, A10,
# GeForce RTX 4090 (Ada whitepaper, float32 accumulation).
GPUS = {
    "H100-80": _gpu(80, 989, 67),
    "H200": _gpu(141, 989, 67),
    "B200": _gpu(180, 2250, 75),
    "A100-80": _gpu(80, 312, 19.5),
    "A100-40": _gpu(40, 312, 19.5),
    "L40S": _gpu(48, 362, 91.6),
    "RTX4090": _gpu(24, 165, 82.6),
    "A10": _gpu(24, 125, 31.2),
    "L4": _gpu(24, 121, 30.3),
}
CORE = 100e9
"""FLOP/s of a CPU core, in float32 and, for want of better, in bfloat16."""


def device_named(name: str) -> Device:
    """The device of that name, `CPU` among them; an unknown one is a ValueError with the nearest."""
    if name.upper() == "CPU":
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return Device(memory=memory, bf16=CORE * (os.cpu_count() or 1), float32=CORE * (os.cpu_count() or 1))
    if name not in GPUS:
        begun = [known for known in GPUS if known.startswith(name.upper())]
        near = begun or difflib.get_close_matches(name.upper(), GPUS, n=1, cutoff=0.0)
        raise ValueError(f"there is no GPU {name!r}; did you mean {near[0]!r}? Known: CPU, {', '.join(GPUS)}")
    return GPUS[name]


def gpu_like(name: str, memory: int) -> str | None:
    """The known GPU that a driver calls `name` and says has `memory` bytes, or None."""
    found = [
        known
        for known, gpu in GPUS.items()
        if known.partition("-")[0] in name.replace(" ", "") and abs(memory / gpu.memory - 1) < 0.15
    ]
    return found[0] if len(found) == 1 else None


def model_flops_utilisation(flops_per_second: float, *, bf16: bool) -> float | None:
    """MFU: the share of its peak that this process's GPU puts into the model; None on a CPU or an unknown GPU."""
    if not torch.cuda.is_available():
        return None
    here = torch.cuda.get_device_properties(torch.cuda.current_device())
    known = gpu_like(here.name, here.total_memory)
    return flops_per_second / (GPUS[known].bf16 if bf16 else GPUS[known].float32) if known else None
