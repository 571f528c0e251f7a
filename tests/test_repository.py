"""What the repository says of itself holds."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def names(requirements):
    return {re.split(r"[<>=!\[; ]", r, maxsplit=1)[0].lower().replace("_", "-") for r in requirements}


def test_the_conda_environment_asks_for_the_projects_own_dependencies():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    [pip] = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    assert set(pip) - {"-e ."} == set(PROJECT["dependencies"]) | set(PROJECT["optional-dependencies"]["mini"])
    assert f"python{PROJECT['requires-python']}" in environment["dependencies"]


def test_every_dependency_is_pinned_once():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[^=]+", line) for line in lines)
    pinned = [line.split("==")[0].lower().replace("_", "-") for line in lines]
    assert len(pinned) == len(set(pinned))
    wanted = [*PROJECT["dependencies"], *(r for extra in PROJECT["optional-dependencies"].values() for r in extra)]
    assert names(wanted) <= set(pinned)
    assert "torch==2.13.0" in lines


def test_ci_runs_the_readmes_test_command():
    assert "\nmake test\n" in (ROOT / ".ci" / "run").read_text()
    assert "make test" in (ROOT / "README.md").read_text() and "make run" in (ROOT / "README.md").read_text()


def test_importing_the_package_and_asking_for_help_loads_no_torch():
    code = "import sys, discnb, discnb.cli, discnb.prompt, discnb.data; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_explorer_explains_itself():
    done = subprocess.run(
        [Path(sys.executable).with_name("discnb"), "explore", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert all(word in done.stdout for word in ("Usage", "RUN", "--output", "--split", "--limit"))


def test_setup_installs_what_the_tests_of_the_explorer_call():
    text = (ROOT / "Makefile").read_text()
    assert "\nsetup: .venv/ready .venv/programs\n" in text and "\ntest: setup " in text
    assert 'missing="nodejs"' in text and "missing chromium" in text


@pytest.mark.parametrize("command", ["run", "data", "cache", "train", "eval", "export", "chat"])
def test_every_command_explains_itself(command):
    done = subprocess.run([Path(sys.executable).with_name("discnb"), command, "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "Usage" in done.stdout and "--run-dir" in done.stdout


@pytest.mark.parametrize("page", ["README.md", "RELIABILITY.md"])
def test_a_pages_measurements_are_the_committed_results(page, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import readme

    assert readme.filled(page) == (ROOT / page).read_text()
