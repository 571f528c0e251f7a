"""The exported model in llama.cpp: tokens, logits, greedy text, and how far they are from PyTorch's."""

import codecs
import ctypes
import logging
import os
import time
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor
from transformers import PreTrainedModel

from .gguf_header import gguf_tensors

BATCH = 256  # tokens decoded at once; llama.cpp keeps a second copy of that many rows of logits
TIMED_TOKENS = 32
MAX_THREADS = 512  # GGML_MAX_N_THREADS

log = logging.getLogger(__name__)
recent_errors: deque[str] = deque(maxlen=8)
_log_callbacks: list = []


class LlamaModel:
    """A GGUF file opened by llama.cpp on the CPU; a context manager.

    `context` tokens of prompt and answer fit. `exact=True` keeps keys and values in float32 instead of float16.
    """

    def __init__(self, path: str | Path, *, context: int = 1024, threads: int = 2, exact: bool = False):
        if not 1 <= threads <= MAX_THREADS:
            raise ValueError(f"{threads} threads asked for; llama.cpp takes 1 to {MAX_THREADS}")
        gguf_tensors(path)  # llama.cpp's own word on a broken file is only "failed to load", if it does not abort
        self._api = api = load_llama_cpp()
        self._model = self._context = None
        recent_errors.clear()
        # not through llama_cpp.Llama: that one compiles the chat template, which is a program from outside
        model = api.llama_model_default_params()
        model.n_gpu_layers = 0
        self._model = api.llama_model_load_from_file(os.fsencode(path), model)
        if self._model is None:
            raise ValueError(f"llama.cpp cannot open {path}: {'; '.join(recent_errors) or 'it does not say why'}")
        settings = api.llama_context_default_params()
        settings.n_ctx, settings.n_batch, settings.n_ubatch = context, min(context, BATCH), min(context, BATCH)
        settings.n_threads = settings.n_threads_batch = threads
        settings.type_k = settings.type_v = api.GGML_TYPE_F32 if exact else api.GGML_TYPE_F16
        settings.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self._context = api.llama_init_from_model(self._model, settings)
        if self._context is None:
            api.llama_model_free(self._model)
            raise ValueError(
                f"llama.cpp cannot hold {context} tokens of {path}: {'; '.join(recent_errors) or 'not enough memory?'}"
            )
        self.context = context
        self._vocab = api.llama_model_get_vocab(self._model)
        self.vocab_size = api.llama_vocab_n_tokens(self._vocab)
        self._uses = 0
        self._batch = api.llama_batch_init(BATCH, 0, 1)
        for i in range(BATCH):
            self._batch.n_seq_id[i] = 1
            self._batch.seq_id[i][0] = 0
        self._free = weakref.finalize(self, _free, api, self._batch, self._context, self._model)

    def __enter__(self) -> "LlamaModel":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Nothing; frees the model. It cannot be used afterwards."""
        self._free()
        self._model = self._context = None

    def tokenize(self, text: str) -> list[int]:
        """Token ids of the text, without BOS; control tokens spelled out in it stay text."""
        self._check_open()
        data = text.encode()
        size = len(data) + 1  # byte-level BPE: never more tokens than bytes
        ids = (self._api.llama_token * size)()
        count = self._api.llama_tokenize(self._vocab, data, len(data), ids, size, False, False)
        assert count >= 0, f"llama.cpp wants {-count} tokens for {len(data)} bytes"
        return ids[:count]

    def logits(self, ids: Sequence[int]) -> Float32[np.ndarray, "tokens vocab"]:
        """Logits after each token, [T, V]."""
        self._start(ids)
        rows = np.empty((len(ids), self.vocab_size), dtype=np.float32)
        for start in range(0, len(ids), BATCH):
            rows[start : start + BATCH] = self._decode(ids[start : start + BATCH], start, every=True)
        return rows

    def generate_ids(self, prompt: str | Sequence[int], *, max_new_tokens: int = 256) -> Iterator[int]:
        """The most likely next token id, again and again, up to an end-of-generation token or the context's end."""
        ids = self.tokenize(prompt) if isinstance(prompt, str) else list(prompt)
        self._start(ids)
        use, past = self._uses, 0
        for _ in range(min(max_new_tokens, self.context - len(ids))):
            if use != self._uses:
                raise RuntimeError("Another call used this LlamaModel during generation; finish it first or open two.")
            for start in range(0, len(ids), BATCH):
                last = self._decode(ids[start : start + BATCH], past, every=False)
                past += len(ids[start : start + BATCH])
            token = int(last[0].argmax())
            if self._api.llama_vocab_is_eog(self._vocab, token):
                return
            yield token
            ids = [token]

    def generate(self, prompt: str | Sequence[int], *, max_new_tokens: int = 256) -> Iterator[str]:
        """Pieces of the greedy continuation of a text or of token ids (a rendered chat), as they come.

        A character whose bytes are spread over tokens comes whole with its last byte; one left unfinished at the end
        does not come. Control tokens are not shown.
        """
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        for token in self.generate_ids(prompt, max_new_tokens=max_new_tokens):
            if piece := decoder.decode(self.piece(token)):
                yield piece

    def piece(self, token: int) -> bytes:
        """Bytes that the token stands for; none for a control token."""
        self._check_open()
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            count = self._api.llama_token_to_piece(self._vocab, token, buffer, size, 0, False)
            if count >= 0:
                return buffer.raw[:count]
            size = -count

    def _check_open(self) -> None:
        """Nothing; ValueError once the model is closed."""
        if self._model is None:
            raise ValueError("This LlamaModel is closed; open the file again.")

    def _start(self, ids: Sequence[int]) -> None:
        """Nothing; forgets what was decoded before, so that `ids` begin a new sequence."""
        self._check_open()
        if not 0 < len(ids) <= self.context:
            raise ValueError(f"{len(ids)} tokens given; expected 1 to {self.context}: shorten them or raise `context`.")
        if not 0 <= min(ids) <= max(ids) < self.vocab_size:
            raise ValueError(f"Token ids run from {min(ids)} to {max(ids)}; expected 0 to {self.vocab_size - 1}.")
        self._uses += 1
        self._api.llama_memory_clear(self._api.llama_get_memory(self._context), False)

    def _decode(self, ids: Sequence[int], past: int, *, every: bool) -> Float32[np.ndarray, "rows vocab"]:
        """Logits after every one of at most BATCH tokens, or after the last only; overwritten by the next call."""
        self._check_open()
        count = len(ids)
        self._batch.n_tokens = count
        np.ctypeslib.as_array(self._batch.token, (count,))[:] = ids
        np.ctypeslib.as_array(self._batch.pos, (count,))[:] = np.arange(past, past + count)
        wanted = np.ctypeslib.as_array(self._batch.logits, (count,))
        wanted[:] = every
        wanted[-1] = True
        recent_errors.clear()
        code = self._api.llama_decode(self._context, self._batch)
        if code != 0:
            raise RuntimeError(f"llama.cpp failed to decode {count} tokens: {'; '.join(recent_errors) or code}")
        rows = count if every else 1
        return np.ctypeslib.as_array(self._api.llama_get_logits(self._context), (rows, self.vocab_size))


def _free(api: ModuleType, batch: Any, context: Any, model: Any) -> None:
    api.llama_batch_free(batch)
    api.llama_free(context)
    api.llama_model_free(model)


class Parity(NamedTuple):
    """How far a GGUF file in llama.cpp is from the PyTorch model it was made from, and how fast it runs."""

    bytes: int
    """Size of the file."""
    kl_to_torch: float
    """Mean KL(PyTorch || llama.cpp) per token at temperature 1, nats."""
    top1_agreement: float
    """Share of positions where both find the same token most likely, 0 to 1."""
    max_logit_error: float
    """Largest absolute difference of two logits."""
    tokens_per_second: float
    """Generation, one token at a time, after the longest sequence as prompt."""
    prompt_tokens_per_second: float
    """Reading that prompt."""


def final_hidden(model: PreTrainedModel, sequences: Sequence[Int[Tensor, "_"]]) -> list[Float32[Tensor, "_ hidden"]]:
    """The model's final hidden states, the input of its head, [T, H] of each sequence, float32 on the CPU."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return [
                model.model(input_ids=ids[None].to(model.device), use_cache=False).last_hidden_state[0].float().cpu()
                for ids in sequences
            ]
    finally:
        model.train(training)


def parity(
    path: str | Path,
    sequences: Sequence[Int[Tensor, "_"]],
    hidden: Sequence[Float32[Tensor, "_ hidden"]],
    head: Float[Tensor, "vocab hidden"],
    *,
    threads: int = 2,
    exact: bool = False,
) -> Parity:
    """Distance and speed of a GGUF file against PyTorch's final hidden states and head on the same sequences.

    `hidden` comes from `final_hidden`, once for all files of a model. The logits of one sequence are alive at a time.
    """
    if not sequences:
        raise ValueError("No sequences to compare on; expected at least one.")
    head = head.detach().float().cpu()
    longest = max(sequences, key=len).tolist()
    kl_sum, agreements, largest = 0.0, 0, 0.0
    with LlamaModel(path, context=len(longest) + TIMED_TOKENS, threads=threads, exact=exact) as model:
        if model.vocab_size < len(head):
            raise ValueError(f"{path} has {model.vocab_size} tokens, the head {len(head)}; expected at least as many.")
        for ids, states in zip(sequences, hidden, strict=True):
            logits = torch.from_numpy(model.logits(ids.tolist()))[:, : len(head)]
            for rows in range(0, len(ids), 64):  # the float64 copies of all positions would be several GB
                expected, got = states[rows : rows + 64] @ head.T, logits[rows : rows + 64]
                largest = max(largest, (expected - got).abs().max().item())
                agreements += int((expected.argmax(-1) == got.argmax(-1)).sum())
                log_p, log_q = expected.double().log_softmax(-1), got.double().log_softmax(-1)
                kl_sum += (log_p.exp() * (log_p - log_q)).sum().item()
            del logits, got
        prompt_speed, speed = _speeds(model, longest)
    tokens = sum(len(ids) for ids in sequences)
    return Parity(
        bytes=Path(path).stat().st_size,
        kl_to_torch=kl_sum / tokens,
        top1_agreement=agreements / tokens,
        max_logit_error=largest,
        tokens_per_second=speed,
        prompt_tokens_per_second=prompt_speed,
    )


def _speeds(model: LlamaModel, prompt: list[int]) -> tuple[float, float]:
    """Tokens per second of reading the prompt and of generating after it."""
    model._start(prompt)
    begin = time.perf_counter()
    for start in range(0, len(prompt), BATCH):
        last = model._decode(prompt[start : start + BATCH], start, every=False)
    middle = time.perf_counter()
    for i in range(TIMED_TOKENS):  # past an end of text too: the time of a token does not depend on which it is
        last = model._decode([int(last[0].argmax())], len(prompt) + i, every=False)
    end = time.perf_counter()
    return len(prompt) / (middle - begin), TIMED_TOKENS / (end - middle)


@cache
def load_llama_cpp() -> ModuleType:
    """The module `llama_cpp` with llama.cpp's log silenced except for errors, kept in `recent_errors` and logged."""
    try:
        import llama_cpp
    except ImportError as error:
        raise ImportError("llama.cpp is not installed; `pip install llama-cpp-python==0.3.36`.") from error

    level = 0

    @llama_cpp.llama_log_callback
    def on_log(new_level, text, _):
        # llama-cpp-python 0.3.36 has these numbers off by one, so its own verbose=False hides errors.
        nonlocal level
        level = level if new_level == 5 else new_level
        line = text.decode("utf-8", "replace").strip()
        if level == 4 and line:
            recent_errors.append(line)
            log.error("llama.cpp: %s", line)

    llama_cpp.llama_log_set(on_log, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    _log_callbacks.append(on_log)  # C holds only the address: without a reference Python frees it
    return llama_cpp
