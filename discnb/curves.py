"""Training curves for TensorBoard, beside `metrics.jsonl`, which has the same numbers."""

import time
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from transformers import TrainerCallback

from .checkpoint import writing


class Curves(TrainerCallback):
    """Writes every logged number to an events file in `folder`, in the training's own thread.

    TensorBoard's SummaryWriter writes in another, where a full disk is a traceback that ends nothing.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "events.out.tfevents"

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """What a checkpoint remembers is written again, so that a resumed training has one curve."""
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_bytes(b"")
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        for row in state.log_history:
            self._add(row["step"], row)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        self._add(state.global_step, logs or {})

    def _add(self, step: int, row: dict[str, float]) -> None:
        values = [Summary.Value(tag=f"train/{name}", simple_value=value) for name, value in row.items()]
        self._write(Event(step=step, wall_time=time.time(), summary=Summary(value=values)))

    def _write(self, event: Event) -> None:
        with writing(self.path), self.path.open("ab") as file:
            RecordWriter(file).write(event.SerializeToString())
