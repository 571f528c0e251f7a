"""Running `train.ipynb` by papermill: the notebook of a run is its record."""

import ast
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .run import Run


class NotebookError(RuntimeError):
    """A cell of the notebook failed; the message is the cell's own."""


def notebook_path() -> Path:
    """The notebook `train.ipynb`: beside the installed package's modules, or in the checkout's `notebooks/`."""
    package = Path(__file__).parent
    installed, checkout = package / "train.ipynb", package.parent / "notebooks" / "train.ipynb"
    return installed if installed.exists() else checkout


def execute(run: "Run") -> Path:
    """Execute the notebook for `run`, printing its cells' output as it comes; returns the executed copy's path.

    A cell that fails is a NotebookError; the copy holds everything up to there.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    from .config import changed
    from .presets import preset

    target = run.folder / "train.ipynb"
    untouched = preset(run.config.preset).to_dict()
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
            # the kernel listens on a socket file, not on the network; Windows has none
            config=Config({"KernelManager": {"transport": "ipc"}}) if os.name == "posix" else Config(),
            stdout_file=sys.stdout,
            stderr_file=sys.stderr,
        )
    except PapermillExecutionError as error:
        raise NotebookError(f"{error.ename}: {error.evalue}; the notebook up to there: {target}") from error
    except DeadKernelError as error:
        raise NotebookError(f"the notebook's process died (out of memory?); what it did is in {target}") from error
    return target


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
