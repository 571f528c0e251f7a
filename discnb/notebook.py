"""Running `train.ipynb` by papermill: the notebook of a run is its record."""

import ast
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from .interrupts import signals_kept

if TYPE_CHECKING:
    from .run import Run


class NotebookError(RuntimeError):
    """A cell of the notebook failed; the message is the cell's own, `stopped_by` the signal that it heard, if any."""

    def __init__(self, message: str, stopped_by: int | None = None) -> None:
        super().__init__(message)
        self.stopped_by = stopped_by


def notebook_path() -> Path:
    """The notebook `train.ipynb`: beside the installed package's modules, or in the checkout's `notebooks/`."""
    package = Path(__file__).parent
    installed, checkout = package / "train.ipynb", package.parent / "notebooks" / "train.ipynb"
    return installed if installed.exists() else checkout


def execute(run: "Run") -> Path:
    """Execute the notebook for `run`, printing its cells' output as it comes; returns the executed copy's path.

    A cell that fails is a NotebookError; the copy holds everything up to there. SIGINT and SIGTERM interrupt the cell,
    and are waited for: a step of training is ended and saved first.
    """
    import papermill
    from jupyter_client.manager import AsyncKernelManager
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    from .config import changed
    from .presets import preset

    target = run.folder / "train.ipynb"
    kernels: list[AsyncKernelManager] = []

    class Kernel(AsyncKernelManager):
        def __init__(self, *arguments: Any, **settings: Any) -> None:
            super().__init__(*arguments, **settings)
            kernels.append(self)

    def interrupt() -> None:
        for kernel in kernels:
            if pid := getattr(kernel.provisioner, "pid", None):
                os.kill(pid, signal.SIGINT)
                return
        raise KeyboardInterrupt

    untouched = preset(run.config.preset).to_dict()
    with _alone(run.folder), signals_kept(interrupt) as signals:
        try:
            papermill.execute_notebook(
                notebook_path(),
                target,
                parameters={
                    "preset": run.config.preset,
                    "run_dir": str(run.folder.resolve()),
                    "overrides": {name: new for name, (new, _) in changed(run.config.to_dict(), untouched).items()},
                },
                kernel_name="python3",
                progress_bar=False,
                kernel_manager_class=Kernel,
                # the kernel listens on a socket file, not on the network; Windows has none
                config=Config({"KernelManager": {"transport": "ipc"}}) if os.name == "posix" else Config(),
                stdout_file=sys.stdout,
                stderr_file=sys.stderr,
            )
        except PapermillExecutionError as error:
            what = error.evalue if error.ename == "Stopped" else f"{error.ename}: {error.evalue}"
            raise NotebookError(f"{what}; the notebook up to there: {target}", next(iter(signals), None)) from error
        except DeadKernelError as error:
            raise NotebookError(f"the notebook's process died (out of memory?); what it did is in {target}") from error
        except OSError as error:
            raise NotebookError(f"{error}, when {target} was executed or written") from error
        if signals:  # it came between two cells
            raise NotebookError(f"interrupted when all was done; the notebook: {target}", signals[0])
    return target


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One notebook at a time is executed for a run: its copy there is the run's record."""
    try:
        with FileLock(folder / ".notebook.lock", timeout=0):
            yield
    except Timeout:
        raise ValueError(f"another process executes the notebook of {folder}; wait for it or end it") from None


def check_parameters(cells: Sequence[str]) -> None:
    """Refuse a notebook parameter nobody reads, of which papermill only warns; `cells` are the inputs so far (`In`)."""
    known = {"preset", "run_dir", "overrides"}
    injected = [cell for cell in cells if cell.startswith("# Parameters\n")]
    given = {
        target.id
        for cell in injected
        for statement in ast.parse(cell).body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
    if unknown := sorted(given - known):
        raise ValueError(f"unknown parameter {', '.join(unknown)}; the notebook takes {', '.join(sorted(known))}")
