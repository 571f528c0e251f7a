"""A whole study at its smallest: real cells in real processes, over one teacher."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file

from discnb.ablate import STUDIES, ablate, cell_run, check, open_base, work
from discnb.arms import ARMS
from discnb.checkpoint import read_json

SMALL = {
    "data.size": 60, "data.kinds": "torque,ohm-power", "data.novel_kinds": "displacement", "teacher.steps": 3,
    "train.epochs": 0.5, "grade.samples": 2, "grade.new_tokens": 4,
}  # fmt: skip
ARMS_RUN, SEEDS = ("uniform", "disc"), (1, 2)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    return folder, ablate("tiny", folder, arms=["disc"], seeds=SEEDS, overrides=SMALL)


def test_every_arm_has_every_seed_and_the_baseline_comes_along(study):
    _, summary = study
    assert [(cell["arm"], cell["seed"]) for cell in summary["cells"]] == [(a, s) for a in ARMS_RUN for s in SEEDS]
    for cell in summary["cells"]:
        assert cell["kl"] > 0 and cell["kl_at_pivots"] > 0 and 0 <= cell["ece"] <= 1 and 0 <= cell["accuracy"] <= 1
        assert cell["accuracy_novel"] is not None
    assert summary["arms"]["disc"]["kl"]["difference"]["seeds"] == 2
    assert summary["teacher"]["kl"] == 0 < summary["teacher"]["ce"]


def test_cells_share_the_teacher_and_have_none_of_their_own(study):
    folder, _ = study
    cells = sorted(path for path in (folder / "cells").iterdir() if path.is_dir())
    assert [path.name for path in cells] == ["disc-1", "disc-2", "uniform-1", "uniform-2"]
    for cell in cells:
        assert not (cell / "teacher").exists() and not (cell / "data").exists() and (cell / "student").is_dir()


def test_arms_of_a_seed_begin_alike_and_see_the_same_order(study):
    folder, _ = study
    base = open_base("tiny", folder, SMALL)
    one, two, other = (cell_run(base, *cell) for cell in (("uniform", 1), ("disc", 1), ("uniform", 2)))
    first = [run.initial_student().state_dict()["lm_head.weight"] for run in (one, two, other)]
    assert torch.equal(first[0], first[1]) and not torch.equal(first[0], first[2])
    rows = [run.metrics()[0] for run in (one, two, other)]
    assert rows[0]["ce"] == rows[1]["ce"] != rows[2]["ce"]  # the loss itself is the arm's


def test_a_study_again_trains_nothing_and_says_the_same(study):
    folder, summary = study
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("model.safetensors")}
    assert ablate("tiny", folder, arms=["disc"], seeds=SEEDS, overrides=SMALL) == summary
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("model.safetensors")} == stamps
    assert read_json(folder / "summary.json") == summary


def test_a_cell_in_another_process_is_left_to_it(study):
    folder, _ = study
    base = open_base("tiny", folder, SMALL)
    base.cache()
    with FileLock(folder / "cells" / "uniform-1.lock"):
        assert work(folder, "uniform", 1, base.stages.done) is None
    assert work(folder, "uniform", 1, base.stages.done)["kl"] > 0


def test_pivots_are_the_baselines_for_every_arm(study):
    folder, summary = study
    tokens = {arm: load_file(folder / "cells" / f"{arm}-1" / "figures" / "tokens.safetensors") for arm in ARMS_RUN}
    expected = tokens["disc"]["kl"].double()[tokens["uniform"]["pivot"]].mean()
    [disc] = [cell for cell in summary["cells"] if (cell["arm"], cell["seed"]) == ("disc", 1)]
    assert disc["kl_at_pivots"] == pytest.approx(float(expected))
    assert not torch.equal(tokens["disc"]["kl"], tokens["uniform"]["kl"])


def test_a_check_reproduces_every_figure_and_notices_another(study):
    folder, summary = study
    rows = check("tiny", summary, folder, overrides=SMALL)
    assert {row["cell"] for row in rows} == {"teacher", "uniform-1", "disc-1"}
    assert all(row["was"] == row["is"] for row in rows)
    cells = [{**cell, "kl": cell["kl"] * 1.01} for cell in summary["cells"]]
    rows = check("tiny", {**summary, "cells": cells}, folder, arms=["disc"], overrides=SMALL)
    assert [row["metric"] for row in rows if row["was"] != row["is"]] == ["kl"]


def test_the_command_checks_a_summary_and_fails_where_it_is_not_reproduced(study, tmp_path):
    folder, summary = study
    wrong = tmp_path / "summary.json"
    wrong.write_text(json.dumps({**summary, "cells": [{**cell, "ece": 0.5} for cell in summary["cells"]]}))
    settings = [word for name, value in SMALL.items() for word in ("--set", f"{name}={value}")]
    command = [Path(sys.executable).with_name("discnb"), "ablate", "tiny", "--run-dir", folder, "--check", *settings]
    for path, code, said in ((folder / "summary.json", 0, "to the last bit"), (wrong, 2, "uniform-1 ece")):
        done = subprocess.run([*command, "--against", path], capture_output=True, text=True)
        assert done.returncode == code and said in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("study", "arms", "message"), [("huge", None, "no study 'huge'"), ("tiny", ["diss"], "no arm 'diss'")]
)
def test_an_unknown_name_is_refused(study, arms, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        ablate(study, tmp_path / "study", arms=arms)
    assert not (tmp_path / "study").exists()


def test_the_studies_are_large_enough():
    assert len(STUDIES["tiny"].arms) >= 14 and len(STUDIES["tiny"].seeds) >= 5
    assert len(STUDIES["mini"].arms) >= 4 and len(STUDIES["mini"].seeds) >= 3
    assert all(set(study.arms) <= set(ARMS) for study in STUDIES.values())


def test_a_killed_cell_goes_on_from_what_is_there(study):
    folder, summary = study
    shutil.rmtree(folder / "cells" / "disc-2" / "figures")
    assert ablate("tiny", folder, arms=["disc"], seeds=SEEDS, overrides=SMALL) == summary
