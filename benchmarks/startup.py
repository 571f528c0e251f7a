"""What it costs to begin: `import discnb`, and the command's help.

python benchmarks/startup.py
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

from measure import save

REPEATS = 7


def import_seconds():
    code = "import time; t = time.perf_counter(); import discnb; print(time.perf_counter() - t)"
    return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def help_seconds():
    begin = time.perf_counter()
    subprocess.run([Path(sys.executable).with_name("discnb"), "--help"], check=True, capture_output=True)
    return time.perf_counter() - begin


if __name__ == "__main__":
    figures = {
        "import_seconds": statistics.median(import_seconds() for _ in range(REPEATS)),
        "help_seconds": statistics.median(help_seconds() for _ in range(REPEATS)),
    }
    print(figures)
    save("startup", figures)
