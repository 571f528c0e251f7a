"""Quantisation by llama.cpp's own quantiser, with an importance matrix measured in PyTorch."""

import ctypes
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import gguf
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from .checkpoint import atomic_path
from .gguf import ARCHITECTURES, FILE_TYPES, gguf_name
from .gguf_header import gguf_tensors
from .llama import load_llama_cpp, recent_errors

QUANTIZATIONS = ("F16", "Q8_0", "Q5_K_M", "Q4_K_M")


def importance_matrix(
    model: PreTrainedModel, sequences: Iterable[Int[Tensor, "_"]]
) -> dict[str, Float[np.ndarray, "_"]]:
    """GGUF tensor name -> mean squared input of each channel over all tokens, for every Linear but the head."""
    names = gguf.get_tensor_name_map(ARCHITECTURES[model.config.model_type][0], model.config.num_hidden_layers)
    sums: dict[str, Tensor] = {}
    hooks = []

    def watch(name: str, module: nn.Linear) -> None:
        sums[name] = torch.zeros(module.in_features, dtype=torch.float64)

        def add(_, inputs):
            sums[name] += inputs[0].detach().flatten(0, -2).double().square().sum(0).cpu()

        hooks.append(module.register_forward_pre_hook(add))

    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and module is not model.get_output_embeddings():
            watch(gguf_name(names, f"{name}.weight"), module)
    training, tokens = model.training, 0
    model.eval()
    try:
        with torch.no_grad():
            for sequence in sequences:
                model.model(input_ids=sequence[None].to(model.device), use_cache=False)  # the head is not needed
                tokens += len(sequence)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    if tokens == 0:
        raise ValueError("No tokens to measure importance on; expected at least one non-empty sequence.")
    return {name: (total / tokens).float().numpy() for name, total in sums.items()}


def quantize(
    source: str | Path,
    target: str | Path,
    kind: str,
    *,
    importance: Mapping[str, np.ndarray] | None = None,
    threads: int = 2,
) -> Path:
    """Path of the quantised file that llama.cpp made, atomically, from a float GGUF `source`.

    `importance`, from `importance_matrix`, weighs the rounding error of the K-quants by input channel.
    """
    if kind not in QUANTIZATIONS[1:]:
        raise ValueError(f"Quantisation {kind!r} is unknown; expected one of {QUANTIZATIONS[1:]} (F16: `write_gguf`).")
    tensors = gguf_tensors(source)
    for name, (_, stored) in tensors.items():
        if stored not in FILE_TYPES:
            raise ValueError(f"{source} is already quantised ({name} is {stored}); give the F16 or F32 file.")
    for name, value in (importance or {}).items():
        expected = tensors[name][0][:1] if name in tensors else None
        if value.shape != expected:
            raise ValueError(
                f"Importance of {name} has shape {value.shape}, the file's tensor {expected}; measure this model."
            )
        if not (np.isfinite(value).all() and (value >= 0).all()):
            raise ValueError(f"Importance of {name} holds a negative, infinite or NaN value; expected mean squares.")

    llama_cpp = load_llama_cpp()
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}")
    params.nthread = threads
    if importance:
        entries = (llama_cpp.llama_model_imatrix_data * (len(importance) + 1))()  # the last one, all zero, ends it
        values = [np.ascontiguousarray(value, dtype=np.float32) for value in importance.values()]
        for entry, name, value in zip(entries, importance, values, strict=False):
            entry.name = name.encode()
            entry.data = value.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
            entry.size = value.size
        params.imatrix = entries
    with atomic_path(Path(target)) as temporary:
        recent_errors.clear()
        code = llama_cpp.llama_model_quantize(os.fsencode(source), os.fsencode(temporary), ctypes.byref(params))
        if code != 0:
            raise RuntimeError(f"llama.cpp could not quantise {source} to {kind}: {'; '.join(recent_errors) or code}")
    return Path(target)
