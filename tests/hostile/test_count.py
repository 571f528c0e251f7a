"""How many bad inputs the tables of this folder hold, each a case of a test."""

from . import test_command, test_data, test_gguf, test_models, test_runs, texts

TABLES = {
    "GGUF files": test_gguf.CASES,
    "model folders": test_models.CASES,
    "chat templates": test_models.TEMPLATES,
    "manifests": test_runs.MANIFESTS,
    "what lies in a file's place": test_runs.PLACES,
    "settings of a run": test_runs.SETTINGS,
    "records of a cache": test_runs.RECORDS,
    "shards of a cache": test_runs.SHARDS,
    "lines of metrics": test_runs.LINES,
    "data files": test_data.CASES,
    "texts": texts.TEXTS,
    "command lines": test_command.CASES,
}


def test_there_are_at_least_200_bad_inputs_and_none_stands_twice():
    assert {name: len(table) for name, table in TABLES.items() if len(table) < 5} == {}
    assert sum(map(len, TABLES.values())) >= 400
    assert len(set(texts.TEXTS.values())) == len(texts.TEXTS)
