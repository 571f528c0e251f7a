"""Coverage-guided fuzzing of one reader: `python tests/hostile/fuzz.py manifest -max_total_time=60`."""

import logging
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))
with atheris.instrument_imports(include=["discnb.checkpoint", "discnb.gguf_header", "discnb.model_folder"]):
    from discnb import checkpoint, gguf_header, model_folder

from tests.hostile.files import Model, safetensors, sealed

logging.disable()
FOLDER = Path(tempfile.mkdtemp(prefix="discnb-fuzz-"))
READER = sys.argv.pop(1)


SEEDS = {
    "manifest": [b'{"files": {"a": {"bytes": 3, "sha256": "0"}}}', b'{"files": {"../../victim": {"bytes": 8}}}'],
    "json": [b'{"a": [1, 2.5, null, true, "b"]}', b"[NaN]"],
    "lines": [b'{"step": 1, "loss": 2.5}\n{"step": 2}\n'],
    "gguf": [Model().bytes(), Model().set("general.alignment", 64).bytes()],
    "safetensors": [safetensors({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, bytes(8))],
}
"""Where the fuzzer begins."""


def manifest(content):
    folder = FOLDER / "a" / "stage"
    folder.mkdir(parents=True, exist_ok=True)
    victim = FOLDER / "victim"
    victim.write_text("precious")
    for form in (content, sealed(content)):
        (folder / "manifest.json").write_bytes(form)
        with suppress(ValueError):  # it is not sealed
            checkpoint.mend(folder)
    assert victim.read_text() == "precious"


def read(name, function):
    def one(content):
        path = FOLDER / name
        path.write_bytes(content)
        try:
            function(path)
        except ValueError as error:
            assert name in str(error)

    return one


def gguf(path):
    gguf_header.check_model(gguf_header.read_header(path), path)


def main():
    readers = {
        "manifest": manifest,
        "json": read("x.json", checkpoint.read_json),
        "lines": read("x.jsonl", checkpoint.read_json_lines),
        "gguf": read("x.gguf", gguf),
        "safetensors": read("x.safetensors", model_folder.check_safetensors),
    }
    seeds = FOLDER / "seeds"
    seeds.mkdir()
    for number, content in enumerate(SEEDS[READER]):
        (seeds / str(number)).write_bytes(content)
    atheris.Setup([*sys.argv, str(seeds)], readers[READER])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
