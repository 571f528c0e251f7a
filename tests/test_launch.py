"""What starts the full run elsewhere says what the command, the schedulers and the plan understand.

The scripts are executed with stand-ins that write down how they were called; the real parsers read that.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

LAUNCH = Path(__file__).parent.parent / "launch"
YAMLS = ["h100.yaml", "h100x8.yaml", "cache_spot.yaml"]
STARTED = [*YAMLS, "slurm.sh"]

STAND_IN = """#!/usr/bin/env bash
{ printf '%s\\0' "${0##*/}" "$@"; echo; } >>"$CALLS"
case ${0##*/} in
scontrol) printf 'node1\\nnode2\\n' ;;
srun)
    while [[ $1 == --* ]]; do shift; done
    exec "$@"
    ;;
esac
"""


def task(name):
    return yaml.safe_load((LAUNCH / name).read_text())


def script(name):
    return task(name)["run"] if name in YAMLS else (LAUNCH / name).read_text()


def program(name):
    """An optional program, beside this Python or on the path."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def executed(text, folder, **variables):
    """The commands `text` runs, each as a list of words, none of them really run."""
    (folder / "bin").mkdir()
    for name in ("discnb", "torchrun", "srun", "scontrol", "conda", "make", "sudo"):
        (folder / "bin" / name).write_text(STAND_IN)
        (folder / "bin" / name).chmod(0o755)
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "activate").touch()
    environment = {
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "CALLS": str(folder / "calls"),
        "HOME": str(folder),
        **variables,
    }
    subprocess.run(["bash", "-c", text], cwd=folder, env=environment, check=True, timeout=60)
    return [line.removesuffix("\0").split("\0") for line in (folder / "calls").read_text().splitlines()]


def calls(name, folder, nodes=1):
    if name in YAMLS:
        return executed(script(name), folder, SKYPILOT_NUM_GPUS_PER_NODE="8", **task(name)["envs"] | {"BUCKET": "b"})
    return executed(
        script(name),
        folder,
        SLURM_SUBMIT_DIR=str(folder),
        SLURM_CPUS_PER_TASK="64",
        SLURM_JOB_NODELIST="node[1-2]",
        SLURM_JOB_ID="7",
        SLURM_JOB_NUM_NODES=str(nodes),
    )


def torchrun(words):
    from torch.distributed.run import get_args_parser

    return get_args_parser().parse_args(words)


def stages(called):
    """(stage, processes, its options) of every call of `discnb`, by torchrun's parser and by the real application."""
    import typer

    from discnb.cli import app

    found = []
    for name, *words in called:
        processes = 1
        if name == "torchrun":
            options = torchrun(words)
            assert options.module and options.training_script == "discnb"
            processes, words = (
                int(options.nproc_per_node) * int(options.nnodes.rpartition(":")[2]),
                options.training_script_args,
            )
        elif name != "discnb":
            continue
        stage, *rest = words
        options = typer.main.get_command(app).commands[stage].make_context(stage, list(rest)).params
        found.append((stage, processes, options))
    return found


def settings_of(options):
    from discnb.cli import _changes
    from discnb.config import override
    from discnb.presets import preset

    return override(preset(options["preset"]), _changes(options["settings"]))


@pytest.mark.parametrize("name", STARTED)
def test_every_call_names_a_preset_and_settings_that_exist_and_the_same_folder(name, tmp_path):
    found = stages(calls(name, tmp_path))
    assert {options["preset"] for _, _, options in found} == {"stem_proof_1_7b"}
    assert len({options["run_dir"] for _, _, options in found}) == 1
    assert all(settings_of(options) == settings_of(found[0][2]) for _, _, options in found)


def test_all_files_give_the_same_settings_so_that_one_goes_on_where_another_ended(tmp_path):
    configs = []
    for name in STARTED:
        (tmp_path / name).mkdir()
        configs.append(settings_of(stages(calls(name, tmp_path / name))[0][2]))
    assert all(config == configs[0] for config in configs)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("h100.yaml", [("run", 1)]),
        ("h100x8.yaml", [("cache", 8), ("train", 8), ("run", 1)]),
        ("cache_spot.yaml", [("cache", 8)]),
        ("slurm.sh", [("cache", 8), ("train", 8), ("run", 1)]),
    ],
)
def test_stages_come_in_their_order_and_run_in_one_process(name, expected, tmp_path):
    assert [(stage, processes) for stage, processes, _ in stages(calls(name, tmp_path))] == expected


def test_two_nodes_share_stage_one_and_meet_at_the_first(tmp_path):
    called = calls("slurm.sh", tmp_path, nodes=2)
    found = stages(called)
    assert [(stage, processes) for stage, processes, _ in found] == [("cache", 16), ("train", 8), ("run", 1)]
    for _, processes, options in found:
        config = settings_of(options)
        if options is found[1][2]:
            assert processes <= config.train.batch_size * config.train.accumulation
    meeting = [torchrun(words) for name, *words in called if name == "torchrun"]
    assert [m.rdzv_endpoint for m in meeting] == ["node1:29500"] * 2 and meeting[0].rdzv_id != meeting[1].rdzv_id
    steps = [words[:3] for name, *words in called if name == "srun"]
    assert steps == [[f"--nodes={n}", f"--ntasks={n}", "--relative=0"] for n in (2, 1, 1)]


def test_setup_installs_with_the_makefiles_constraints(tmp_path):
    (tmp_path / "launch").mkdir()
    shutil.copy(LAUNCH / "setup.sh", tmp_path / "launch")
    called = executed("bash launch/setup.sh", tmp_path)
    assert called[-1][:2] == ["make", ".venv/ready"]
    made = (LAUNCH.parent / "Makefile").read_text().split("\n.venv/ready:")[1].split("\n\n")[0]
    assert "-c constraints.txt" in made
    assert all(task(name)["setup"] == "bash launch/setup.sh" for name in YAMLS)


def test_disks_and_gpus_are_as_large_as_the_plan_says():
    from discnb.plan import plan
    from discnb.presets import preset

    config = preset("stem_proof_1_7b")
    made = {gpus: plan(config, gpu="H100-80", gpus=gpus) for gpus in (1, 8)}
    cache, train, export = (made[1].stage(name) for name in ("cache", "train", "export"))
    stage_one = sum(cache.disk.values())
    # a checkpoint is counted among "checkpoints at most"
    whole = stage_one + sum(train.disk.values()) - train.disk["one checkpoint"] + sum(export.disk.values())
    machine = 120e9
    for name, needed in (("h100.yaml", whole), ("h100x8.yaml", whole), ("cache_spot.yaml", stage_one)):
        assert task(name)["resources"]["disk_size"] * 1e9 >= needed + machine, name
    for gpus, name in ((1, "h100.yaml"), (8, "h100x8.yaml")):
        for stage in ("cache", "train"):
            found = made[gpus].stage(stage)
            assert found.fits and f"{found.peak / 1e9:.0f} GB" in (LAUNCH / name).read_text()


@pytest.mark.parametrize("name", [*STARTED, "setup.sh"])
def test_bash_reads_the_scripts(name):
    text = script(name) if name != "setup.sh" else (LAUNCH / name).read_text()
    assert subprocess.run(["bash", "-n", "-c", text], capture_output=True).returncode == 0
    assert "set -euo pipefail\n" in text


@pytest.mark.parametrize("name", [*STARTED, "setup.sh"])
def test_shellcheck_finds_nothing(name):
    text = script(name) if name != "setup.sh" else (LAUNCH / name).read_text()
    # SC1091: the environment that is activated is made later
    command = [program("shellcheck"), "--shell=bash", "--exclude=SC1091", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_readme_names_every_file():
    text = (LAUNCH / "README.md").read_text()
    assert all(f"`{path.name}`" in text for path in LAUNCH.iterdir() if path.name != "README.md")


SKY = """
import sys, yaml, sky
from sky.utils import accelerator_registry
# the catalogue of accelerators is on the network; a name is taken as it is
accelerator_registry.canonicalize_accelerator_name = lambda name, cloud=None: name
for path in sys.argv[1:]:
    text = yaml.safe_load(open(path))
    given = [(name, "my-bucket") for name, value in text["envs"].items() if value is None]
    task = sky.Task.from_yaml_config(text, given)
    print(path, task.resources, task.storage_mounts)
"""


def test_skypilot_reads_the_tasks(tmp_path):
    python = Path(program("sky")).with_name("python")
    command = [python, "-c", SKY, *(LAUNCH / name for name in YAMLS)]
    environment = {**os.environ, "HOME": str(tmp_path), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1", "PYTHONPATH": ""}
    done = subprocess.run(command, cwd=LAUNCH.parent, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
