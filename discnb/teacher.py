"""The teacher as what training needs of it: a sequence of final hidden states and a head.

`OnlineTeacher` runs the model, `cache.CachedTeacher` reads what `cache.write_cache` kept of one run; nothing downstream
knows which. Both give the states in bfloat16, so both give the same numbers.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from .models import head_weight

STATES = torch.bfloat16


class Teacher(Protocol):
    """Final hidden states for a batch, and the head that turns them into logits."""

    @property
    def head(self) -> Float[Tensor, "V G"]: ...

    def hidden(
        self, index: Int[Tensor, " B"], input_ids: Int[Tensor, "B T"], attention_mask: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B T G"]:
        """Final hidden states, right-padded to the batch's length; where they are may differ from the inputs."""
        ...

    def prefetch(self, index: list[int]) -> None:
        """Samples that `hidden` will be asked for soon; what was announced before and not fetched is forgotten."""
        ...


@dataclass
class OnlineTeacher:
    """A teacher that runs the model for every batch; `vocabulary` cuts padded rows off its head.

    Its states come in `dtype`: bfloat16 as from the cache, or more to compare a student itself with a teacher.
    """

    model: PreTrainedModel
    vocabulary: int | None = None
    dtype: torch.dtype = STATES

    def __post_init__(self) -> None:
        self.head = head_weight(self.model, self.vocabulary).detach()

    @torch.no_grad()
    def hidden(
        self, index: Int[Tensor, " B"], input_ids: Int[Tensor, "B T"], attention_mask: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B T G"]:
        device = self.model.device
        output = self.model.base_model(
            input_ids=input_ids.to(device), attention_mask=attention_mask.to(device), use_cache=False
        )
        return output.last_hidden_state.to(self.dtype)

    def prefetch(self, index: list[int]) -> None:
        """Nothing: the model is run when it is asked."""
