"""What a model takes of a device: bytes of memory and FLOPs, from its configuration alone.

Nothing here is fitted. What autograd keeps is counted operation by operation from transformers' Qwen3 and Llama layers
under SDPA; `tests/test_footprint.py` holds the peaks to those of torch's own allocator.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch._C._profiler import _EventType
from torch.profiler import ProfilerActivity, profile
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from .signal.head import KEPT_BYTES, MIN_TILE, TILE_BYTES

FLOAT = 4
"""Bytes of a float32: master weights, gradients, moments, the residual stream, logits, norms."""
ENGINE_TILES = 3
"""Arrays of a tile's size beside the logits: where a third of the tokens are singular, smoothing needs no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A model's sizes; parameters are counted once where they are shared, widths are in units, not bytes."""

    parameters: int
    active: int
    """Parameters that work on a token: all but the experts that are not chosen."""
    embedding: int
    """Parameters of the input embedding, which is also the head where `tied`."""
    tied: bool
    matrices: int
    """Parameters of all layers' matrices: what autocast casts, and what a token is multiplied with."""
    active_matrices: int
    """Those of them that work on a token."""
    layers: int
    vocabulary: int
    hidden: int
    heads: int
    queries: int
    """Width of all query heads together."""
    keys: int
    """Width of all key heads together, and of all value heads."""
    inner: int
    """Width of the feed-forward part, or of one expert."""
    experts: int
    chosen: int
    """Experts a token goes through; 0 in a dense model."""
    normed_heads: bool
    """Queries and keys are normalised (Qwen3)."""

    @property
    def head(self) -> int:
        """Parameters of the output head, shared or not."""
        return self.vocabulary * self.hidden


def meta_model(config: PretrainedConfig) -> PreTrainedModel:
    """The model with shapes and no storage."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def shape_of(model: PreTrainedModel) -> Shape:
    """The sizes of a model, which may be on the `meta` device."""
    c = model.config
    matrices = {name: p.numel() for name, p in model.named_parameters() if ".layers." in name and p.ndim > 1}
    experts, chosen = getattr(c, "num_experts", 0), getattr(c, "num_experts_per_tok", 0)
    in_experts = sum(count for name, count in matrices.items() if ".experts." in name)
    idle = in_experts * (experts - chosen) // experts if in_experts else 0
    total, head_dim = model.num_parameters(), getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    return Shape(
        parameters=total,
        active=total - idle,
        embedding=c.vocab_size * c.hidden_size,
        tied=bool(c.tie_word_embeddings),
        matrices=sum(matrices.values()),
        active_matrices=sum(matrices.values()) - idle,
        layers=c.num_hidden_layers,
        vocabulary=c.vocab_size,
        hidden=c.hidden_size,
        heads=c.num_attention_heads,
        queries=c.num_attention_heads * head_dim,
        keys=c.num_key_value_heads * head_dim,
        inner=c.moe_intermediate_size if in_experts else c.intermediate_size,
        experts=experts if in_experts else 0,
        chosen=chosen if in_experts else 0,
        normed_heads=c.model_type.startswith("qwen3"),
    )


def saved_bytes(shape: Shape, *, batch: int, length: int, padded: bool, bf16: bool) -> int:
    """Bytes that autograd keeps of one layer between its forward and its backward, without copies of weights.

    Per token, e bytes to a number of the products (2 under autocast, else 4), H hidden, Q queries, K keys, I inner:

        two norms       2 · (4H its input + 4H normalised + 4 for 1/rms)
        their outputs   as input of q, k, v and of gate, up: 4H each time, shared; under autocast 2H for every product
        q, k            Qwen3's norms of heads: 4(Q+K) in, e(Q+K) normalised, 4 for 1/rms of each head
        attention       q, k, v and its output, e each; 4 per head for the log-sum-exp
        feed-forward    gate, silu(gate), up, their product: 4eI
        experts         c of them: inputs and outputs 2ecH, 4ecI; the router's probabilities, indices, weights

    Rotary embedding, residual sums, views and the output projections keep nothing. A padded batch goes with a mask:
    then SDPA gets keys and values repeated to the queries' width, and every layer keeps the mask in e bytes.
    """
    e, s = (2 if bf16 else FLOAT), shape
    normed = 2 * (2 * FLOAT * s.hidden + FLOAT)
    inputs = s.hidden * (e * (3 + (1 if s.chosen else 2)) if bf16 else 2 * FLOAT)
    q_and_k = (s.queries + s.keys) * (FLOAT + e) + FLOAT * (s.heads + s.heads * s.keys // s.queries)
    attention = e * (2 * s.queries + 2 * (s.queries if padded else s.keys)) + FLOAT * s.heads + e * length * padded
    if s.chosen:
        inner = e * s.chosen * (2 * s.hidden + 4 * s.inner) + FLOAT * (s.experts + 2 * s.chosen) + 8 * 3 * s.chosen
    else:
        inner = 4 * e * s.inner
    return batch * length * (normed + inputs + q_and_k * s.normed_heads + attention + inner)


def activation_bytes(
    shape: Shape, *, batch: int, length: int, padded: bool, bf16: bool, checkpointing: bool
) -> dict[str, int]:
    """Bytes kept for backward: `layers`, `final norm`, and under checkpointing `one layer again` while it is redone."""
    tokens = batch * length
    layer = saved_bytes(shape, batch=batch, length=length, padded=padded, bf16=bf16)
    stream = FLOAT * shape.hidden * tokens
    shared = batch * length**2 * padded + 2 * FLOAT * length * shape.queries // shape.heads  # mask; cosines and sines
    norm = tokens * (3 * FLOAT * shape.hidden + FLOAT) + shared
    if checkpointing:  # the layer's input is there already
        return {"layers": shape.layers * stream, "one layer again": layer - stream, "final norm": norm}
    return {"layers": shape.layers * layer, "final norm": norm}


def inference_bytes(shape: Shape, *, batch: int, length: int, padded: bool, width: int) -> int:
    """Bytes of the widest moment of a forward without gradients, weights aside; `width` is bytes to a number.

    Per token there are always the embedding, the layer's input and a norm's output, and past the attention the residual
    stream. Beside them, while heads are rotated or attended to, four times the queries and twice the keys; in the
    feed-forward three times the inner width; among c experts grouped by `grouped_mm`, each token's c inputs and the
    wider of 4cI (gate and up, silu, product) and 3cH (output, weighted, in order again).
    """
    s, around = shape, 4 * shape.hidden
    attention = width * (3 * s.hidden + 4 * s.queries + 2 * s.keys + length * padded)
    if s.chosen:
        inner = width * (around + s.chosen * (s.hidden + max(4 * s.inner, 3 * s.hidden)) + s.experts)
        inner += FLOAT * s.experts + 8 * 4 * s.chosen
    else:
        inner = width * (around + 3 * s.inner)
    norm = s.normed_heads * (width * 3 * s.hidden + s.queries * (width + 2 * FLOAT))
    return batch * length * max(attention, inner, norm) + batch * length**2 * padded


def engine_bytes(
    shape: Shape, teacher_hidden: int, *, length: int, device: str, free: float = float("inf")
) -> dict[str, int]:
    """Bytes of the signal engine on one sequence: `kept logits`, and `tiles` with what is as long as the sequence.

    Logits of both models are kept for backward as far as a CPU's `KEPT_BYTES` or a quarter of a GPU's `free` allows.
    """
    budget = KEPT_BYTES if device == "cpu" else free / 4
    wanted = 2 * FLOAT * length * shape.vocabulary
    kept = int(min(wanted, max(0, budget)))
    columns = min(shape.vocabulary, max(MIN_TILE, TILE_BYTES[device] // (FLOAT * length)))
    arrays = ENGINE_TILES + (0 if kept == wanted else 2)
    tiles = FLOAT * columns * (arrays * length + teacher_hidden)  # and the teacher's rows, widened
    rows = length * (FLOAT * 2 * shape.hidden + (2 + FLOAT) * teacher_hidden)
    return {"kept logits": kept, "tiles": tiles + rows}


def training_bytes(
    student: Shape,
    teacher_hidden: int,
    *,
    batch: int,
    length: int,
    padded: bool,
    bf16: bool,
    checkpointing: bool,
    accumulating: bool,
    device: str,
    share: int = 1,
    sharded: bool = False,
    memory: float = float("inf"),
) -> dict[str, dict[str, int]]:
    """Bytes by component at each moment that can be a training step's widest; the greatest sum is the peak.

    `signals`: forward is done and the engine works on the batch's last sequence. `topmost layer`: backward begins, all
    activations still there. `lowest layer`: it ends, most gradients there. `embedding`: the activations are gone, and
    the tied matrix' two gradients are about to be added. `step`: AdamW, fused, without temporaries.

    Weights, gradients and moments are float32. `accumulating` says that gradients of an earlier batch are there during
    forward. Of `share` ranks each holds all of them and DDP's buckets, or where `sharded` its part, with two layers'
    weights, one's gradients and the embedding whole. The engine keeps a quarter of what is left of `memory`.
    """
    s, tokens = student, batch * length
    rest = {"batch": tokens * 2 * teacher_hidden, "teacher's head": 2 * s.vocabulary * teacher_hidden}
    weights, gradients, moments = (-(-FLOAT * k * s.parameters // (share if sharded else 1)) for k in (1, 1, 2))
    if sharded:
        rest["whole layers"] = FLOAT * (3 * s.matrices // s.layers + s.embedding)
    elif share > 1:
        rest["DDP's buckets"] = gradients
    always = {"weights": weights, "moments": moments, **rest}
    grown = gradients if accumulating else 0
    saved = activation_bytes(s, batch=batch, length=length, padded=padded, bf16=bf16, checkpointing=checkpointing)
    again = saved.pop("one layer again", 0)
    activations, below = sum(saved.values()), saved["layers"] // s.layers
    copies = 2 * s.matrices * bf16
    states, head = FLOAT * tokens * s.hidden, FLOAT * s.head
    before = {**always, "gradients": grown, "activations": activations, "autocast's copies": copies}
    before["head's gradient"] = head + states
    free = memory - sum(before.values())
    engine = engine_bytes(s, teacher_hidden, length=length, device=device, free=free)
    # a layer's backward: twice the stream's gradient, three of the inner width, the gradient of the widest matrix
    e = 2 if bf16 else FLOAT
    layer = tokens * (2 * FLOAT * s.hidden + 3 * e * s.inner) + (FLOAT + 2 * bf16) * s.hidden * s.inner + again
    if checkpointing:
        copies //= s.layers
    return {
        "signals": {**before, **engine},
        "topmost layer": {
            **always, "gradients": grown, "activations": activations, "autocast's copies": copies,
            "head's gradient": head + states, "a layer's backward": max(layer, head + states),  # or the head's
        },
        "lowest layer": {
            **always, "gradients": max(grown, gradients - FLOAT * s.embedding // (share if sharded else 1)),
            "activations": below, "autocast's copies": copies // (1 if checkpointing else s.layers),
            "head's gradient": head, "a layer's backward": layer,
        },
        "embedding": {
            **always, "gradients": gradients,
            "head's gradient": head * (2 if accumulating else 1) * s.tied + states,
        },
        "step": {**always, "gradients": gradients},
    }  # fmt: skip


def forward_flops(shape: Shape, length: int) -> dict[str, float]:
    """FLOPs of one token's forward without the head: `matrices` 2 per active parameter, `attention` 4Q per key.

    The whole square of a sequence is counted, as a masked kernel computes it; a causal kernel skips half.
    """
    return {
        "matrices": 2.0 * shape.active_matrices,
        "attention": 4.0 * shape.layers * shape.queries * length,
    }


def engine_flops(student_head: int, teacher_head: int, *, kept: bool) -> float:
    """FLOPs of one token's signals and their gradient, of the heads' sizes: both forward, the student's twice back.

    In float32. Where logits are not kept both are projected again. Element-wise work is not counted.
    """
    both = 2.0 * (student_head + teacher_head)
    return both + 4.0 * student_head + (0.0 if kept else both)


def measured_peak(work: Callable[[], Any]) -> int:
    """Bytes that torch's CPU allocator holds at most while `work` runs, beyond what it held before.

    The profiler records every allocation and release, so this is exact: it has all tensors and kernels' temporaries,
    and neither Python's own memory nor what malloc keeps back, for which a process' size is no use.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        kept = work()  # noqa: F841 (held until the peak is past)
    changes, events = [], list(profiler.profiler.kineto_results.experimental_event_tree())
    while events:
        event = events.pop()
        events += event.children
        if event.tag == _EventType.Allocation:
            changes.append((event.start_time_ns, event.extra_fields.alloc_size))
    live = most = 0
    for _, size in sorted(changes, key=lambda change: change[0]):
        live += size
        most = max(most, live)
    return most
