import ast
import inspect
import json
from dataclasses import FrozenInstanceError

import pytest

from discnb import config as config_module
from discnb import objective as objective_module
from discnb.config import DataConfig, StudentConfig, TeacherConfig, TrainConfig, changed, override, settings
from discnb.presets import PRESETS, mini, preset


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_json_and_comes_back_by_overrides(name):
    config = preset(name)
    saved = json.loads(json.dumps(config.to_dict()))
    assert override(config, settings(saved)) == config
    assert saved["preset"] == name


def test_overrides_are_read_as_the_settings_type():
    changes = {
        "train.learning_rate": "1e-4",
        "train.bf16": "true",
        "data.train_samples": "none",
        "objective.window": "2",
    }
    config = override(mini(), changes)
    assert config.train.learning_rate == 1e-4
    assert config.train.bf16 is True
    assert config.data.train_samples is None
    assert config.objective.window == 2
    assert mini().train.bf16 is False


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.learning_rat": 1}, "no setting 'train.learning_rat'; did you mean 'train.learning_rate'"),
        ({"learning_rate": 1}, "did you mean 'train.learning_rate'"),
        ({"train.bf16": "perhaps"}, "train.bf16 is 'perhaps'; expected bool"),
        ({"train.epochs": "many"}, "train.epochs is 'many'; expected float"),
        ({"data.max_length": 1.5}, "data.max_length is 1.5; expected int"),
        ({"data.max_length": True}, "data.max_length is True; expected int"),
        ({"data.max_length": 0}, "data.max_length is 0; expected"),
        ({"train.learning_rate": "nan"}, "train.learning_rate is 'nan'; expected float"),
        ({"train.min_learning_rate": 1.0}, "train.min_learning_rate is 1.0"),
        ({"objective.align": "up"}, "align is 'up'"),
    ],
)
def test_a_wrong_override_is_named_with_what_was_expected(changes, message):
    with pytest.raises(ValueError, match=message):
        override(mini(), changes)


def test_an_unknown_preset_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"no preset 'large'; expected one of tiny, mini"):
        preset("large")


def test_settings_that_contradict_each_other_are_refused():
    with pytest.raises(ValueError, match="scratch teacher, and only it"):
        TeacherConfig(model="scratch", steps=0)
    with pytest.raises(ValueError, match="pruned student, and only it"):
        StudentConfig(model="scratch", layers=3)
    with pytest.raises(ValueError, match="drift_window"):
        TrainConfig(drift_window=1)


def test_a_config_cannot_be_changed_in_place():
    with pytest.raises(FrozenInstanceError):
        mini().data.size = 3


def test_changes_name_setting_new_and_old():
    new = override(mini(), {"data.size": 700})
    assert changed(new.to_dict(), mini().to_dict()) == {"data.size": (700, DataConfig().size)}


def test_every_setting_is_documented():
    for module, names in (
        (config_module, ["DataConfig", "TeacherConfig", "StudentConfig", "TrainConfig", "ExportConfig"]),
        (objective_module, ["DiscObjective"]),
    ):
        classes = {n.name: n for n in ast.parse(inspect.getsource(module)).body if isinstance(n, ast.ClassDef)}
        for name in names:
            body = classes[name].body
            for field, after in zip(body, [*body[1:], None], strict=True):
                if isinstance(field, ast.AnnAssign):
                    said = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                    assert said, f"{name}.{field.target.id} has no docstring"
