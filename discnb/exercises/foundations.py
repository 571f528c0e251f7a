"""Exercises of the chapters on discrepancy, data, and teacher and student."""

import math
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM

from ..cache import cache_bytes
from ..continuous import cantor, midpoints, operator, step, width_of
from ..data.domains import CARD_COUNTS
from ..data.stem import EVAL_SHARE
from ..models import prune_depth
from ..prompt import format_sample, proof_token_mask
from ..signal import discrepancy
from . import exercise

SELF_QUOTING = {"question": "What is 2 + 2?", "cot": "Two and two.\n\nFinal Answer:\n4, I think.", "response": "4"}


@exercise("discrepancy-mass", "A step of height 3, eps = 0.1: what is the integral of D over all x?")
def mass(answer: Any) -> str | None:
    eps, x = 0.1, midpoints(20_000)
    right = operator(lambda x: step(x, 3.0), x, eps).mean()
    if math.isclose(float(answer), right, abs_tol=0.1):
        return None
    return "take the mean of `operator(lambda x: step(x, 3.0), midpoints(20_000), eps)` for two values of eps"


@exercise("discrepancy-lattice", "KL 0, 1, 1, 4 and a window of 2: what is D where it is defined?")
def lattice(answer: Any) -> str | None:
    kl, valid = torch.tensor([[0.0, 1, 1, 4]]).double(), torch.ones(1, 4, dtype=torch.bool)
    D, defined = discrepancy(kl, valid, window=2)
    got = torch.as_tensor(answer, dtype=torch.float64).flatten()
    if len(got) != int(defined.sum()):
        return f"there are {len(got)} numbers; a window of 2 is complete at {int(defined.sum())} of the 4 positions"
    if torch.allclose(got, D[defined]):
        return None
    return "the difference to the token j steps ahead is divided by j; then take the mean over j = 1, 2"


@exercise("discrepancy-cantor", "The width of the Cantor function's D shrinks like eps to which power?")
def power(answer: Any) -> str | None:
    x = midpoints(3**7)
    wide, narrow = (width_of(operator(cantor, x, 3.0**-k, nodes=200)) for k in (3, 4))
    measured = math.log(wide / narrow) / math.log(3)
    right = 1 - math.log(2) / math.log(3)
    assert abs(measured - right) < 0.1  # the scales say what the theory says
    if math.isclose(float(answer), right, abs_tol=0.01):
        return None
    return f"eps = 3^−k leaves 2^k intervals of about that length; two scales measured here give {measured:.2f}"


@exercise("data-span", "Which text is the proof of the sample whose CoT itself says `Final Answer:`?")
def span(answer: Any) -> str | None:
    text, (start, end) = format_sample(**SELF_QUOTING)
    if answer == text[start:end]:
        return None
    if isinstance(answer, str) and answer and text[start:end].startswith(answer):
        return "it does not end at the CoT's own `Final Answer:`; the span is known from building the text"
    return "it is text[start:end] of format_sample(...), all of the CoT and nothing else"


@exercise("data-overlap", "Tokens of characters (0, 3), (3, 7), (7, 7), (7, 12): which lie in the proof span (5, 8)?")
def overlap(answer: Any) -> str | None:
    right = proof_token_mask([(0, 3), (3, 7), (7, 7), (7, 12)], (5, 8))
    got = list(answer)
    if len(got) == len(right) and all(bool(a) == b for a, b in zip(got, right, strict=True)):
        return None
    return (
        "a token is in the span if it shares at least one character with it, and a token without characters shares none"
    )


@exercise("data-split", "Of the 6,122 published samples, how many are held out?")
def split(answer: Any) -> str | None:
    rows = Dataset.from_dict({"row": list(range(sum(CARD_COUNTS.values())))})
    right = len(rows.train_test_split(test_size=EVAL_SHARE, seed=42)["test"])
    if answer == right:
        return None
    return f"5 % of {len(rows):,} is {EVAL_SHARE * len(rows):.1f}, and a sample cannot be cut: which way is it rounded?"


@exercise("teacher-bytes", "A teacher of width 2048, bfloat16: how many bytes does its cache take for each token?")
def state_bytes(answer: Any) -> str | None:
    head = torch.empty(1, 2048, dtype=torch.bfloat16, device="meta")
    if answer == cache_bytes(1, head) - head.nbytes:
        return None
    return "one final hidden state a token, two bytes a unit; the head is kept once, not for each token"


@exercise("teacher-memory", "float32 weights, gradients and AdamW's state: how many bytes for each trained parameter?")
def memory(answer: Any) -> str | None:
    layer = torch.nn.Linear(64, 64, bias=False)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 64)).sum().backward()
    optimizer.step()
    kept = [layer.weight, layer.weight.grad, *optimizer.state[layer.weight].values()]
    right = sum(tensor.nbytes for tensor in kept if tensor.ndim == 2) / layer.weight.numel()
    if answer == right:
        return None
    return "count them: the weight, its gradient, and two running moments, four bytes each"


@exercise("teacher-layers", "Which of 30 layers does a student pruned to 4 keep?")
def layers(answer: Any) -> str | None:
    config = LlamaConfig(vocab_size=4, hidden_size=4, intermediate_size=4, num_hidden_layers=30, num_attention_heads=1)
    teacher = LlamaForCausalLM(config)
    with torch.no_grad():
        for number, layer in enumerate(teacher.model.layers):
            layer.input_layernorm.weight.fill_(float(number))
    right = [int(layer.input_layernorm.weight[0]) for layer in prune_depth(teacher, 4).model.layers]
    if np.array_equal(answer, right):
        return None
    return "the first and the last stay, numbered 0 and 29; the others lie evenly between, rounded"
