"""Running `train.ipynb` by papermill: the notebook of a run is its record."""

import sys
from pathlib import Path

import papermill
from papermill.exceptions import PapermillExecutionError

from .config import changed
from .presets import preset
from .run import Run


def notebook_path() -> Path:
    """The notebook `train.ipynb`: beside the installed package's modules, or in the checkout's `notebooks/`."""
    package = Path(__file__).parent
    installed, checkout = package / "train.ipynb", package.parent / "notebooks" / "train.ipynb"
    return installed if installed.exists() else checkout


def execute(run: Run) -> Path:
    """Execute the notebook for `run`, printing its cells' output as it comes; returns the executed copy's path.

    A cell that fails is a RuntimeError with its message; the copy holds everything up to there.
    """
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
            stdout_file=sys.stdout,
            stderr_file=sys.stderr,
        )
    except PapermillExecutionError as error:
        raise RuntimeError(f"{error.ename}: {error.evalue}\n(the notebook up to there: {target})") from error
    return target
