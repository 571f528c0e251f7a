"""A student spread over ranks with FSDP2: sharded in place, and whole again to be saved.

Under DDP every rank has all of it, and nothing of this is needed.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map

from .ranks import device, world


def shard(module: nn.Module, layers: list[nn.Module]) -> None:
    """Spread the parameters of `module` over all ranks in place, each of `layers` gathered only while it computes.

    What is outside of the layers (embedding, head, norms) is gathered at the first use of `module` and stays until
    backward. Parameters keep their precision and are gathered in it, so that the head is the one that is trained.
    """
    mesh = init_device_mesh(device().type, (world(),))
    for part in (*layers, module):
        fully_shard(part, mesh=mesh)


def whole(values: Any) -> Any:
    """`values` (nested dicts and lists) with every sharded tensor gathered, on the CPU. All ranks must call it."""
    return tree_map(lambda x: x.full_tensor().cpu() if isinstance(x, DTensor) else x, values)


def like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """A whole `tensor`, sharded as `parameter` of the same shape is; itself where that is not sharded."""
    if not isinstance(parameter, DTensor):
        return tensor
    # every rank has read the whole and takes its part: nothing is sent
    return distribute_tensor(
        tensor.to(parameter.device), parameter.device_mesh, parameter.placements, src_data_rank=None
    )


def share_optimizer_state(optimizer: torch.optim.Optimizer) -> None:
    """Make `optimizer`'s `state_dict` whole and let `load_state_dict` take a whole one, as one rank's has it."""

    def gather(_: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        return whole(state)

    def scatter(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        shared = {
            number: {
                name: like(value, parameters[number]) if value.shape == parameters[number].shape else value
                for name, value in moments.items()
            }
            for number, moments in state["state"].items()
        }
        return {**state, "state": shared}

    optimizer.register_state_dict_post_hook(gather)
    optimizer.register_load_state_dict_pre_hook(scatter)
