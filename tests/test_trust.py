"""No code from outside is run: read off the syntax tree of every Python file that is ours."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(
    path
    for folder in ("discnb", "launch", "book", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
    if "_build" not in path.parts
)
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "pty"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
CALLS = {
    "os.system", "os.popen", "os.execv", "os.execve", "os.execvp", "os.spawnl", "os.spawnv", "commands.getoutput",
    "subprocess.getoutput", "subprocess.getstatusoutput", "runpy.run_path", "runpy.run_module", "yaml.load",
    "yaml.unsafe_load", "yaml.full_load", "pd.read_pickle", "pandas.read_pickle",
    "torch.hub.load", "torch.jit.load", "jinja2.Template",
}  # fmt: skip


def name_of(node):
    """A dotted name such as `torch.load`, or what ends one whose beginning is computed."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def faults(source):
    """What a source does that runs code from outside, as (line, what)."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [(node.lineno, f"imports {m}") for m in modules if m.split(".")[0] in MODULES]
            if isinstance(node, ast.ImportFrom):
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                found += [(node.lineno, f"imports {name}") for name in names & (CALLS | {"torch.load"})]
        if not isinstance(node, ast.Call):
            continue
        name, given = name_of(node.func), {word.arg: word.value for word in node.keywords}
        literal = {arg: getattr(value, "value", ...) for arg, value in given.items()}
        if name in BUILTINS or name in CALLS:
            found.append((node.lineno, name))
        if name.endswith("torch.load") and literal.get("weights_only") is not True:
            found.append((node.lineno, "torch.load without weights_only=True"))
        if literal.get("allow_pickle", False) is not False:
            found.append((node.lineno, "allow_pickle"))
        if literal.get("shell", False) is not False:
            found.append((node.lineno, "a shell"))
        if literal.get("trust_remote_code", False) is not False:
            found.append((node.lineno, "trust_remote_code"))
        # Auto classes look for code: left unsaid, transformers asks at the terminal whether to run it
        hub = [part for part in name.split(".") if part.startswith("Auto")]
        if hub and name.endswith(".from_pretrained") and literal.get("trust_remote_code") is not False:
            found.append((node.lineno, f"{name} without trust_remote_code=False"))
        if hub and name.endswith("ForCausalLM.from_pretrained") and literal.get("use_safetensors") is not True:
            found.append((node.lineno, f"{name} without use_safetensors=True"))
        if name.endswith("apply_chat_template"):
            found.append((node.lineno, "renders a chat template"))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_of_ours_runs_no_code_from_outside(path):
    assert faults(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from pickle import loads", "import joblib", "from torch import load", "import dill as d",
        "eval(x)", "exec(x)", "compile(x, '', 'exec')", "__import__(x)", "import os; os.system(x)", "os.popen(x)",
        "from os import system", "yaml.load(x)", "torch.load(p)",
        "torch.load(p, weights_only=False)", "torch.load(p, weights_only=flag)", "np.load(p, allow_pickle=True)",
        "np.load(p, allow_pickle=flag)", "subprocess.run(x, shell=True)", "subprocess.Popen(x, shell=flag)",
        "f(trust_remote_code=True)", "f(trust_remote_code=flag)", "AutoConfig.from_pretrained(x)",
        "transformers.AutoTokenizer.from_pretrained(x, trust_remote_code=True)",
        "AutoModelForCausalLM.from_pretrained(x, trust_remote_code=False)", "tokenizer.apply_chat_template(m)",
        "jinja2.Template(x)", "runpy.run_path(x)", "pd.read_pickle(x)", "torch.hub.load(x)",
    ],
)  # fmt: skip
def test_the_check_sees(source):
    assert faults(source)


def test_the_check_lets_pass_what_is_safe():
    for source in (
        "torch.load(p, weights_only=True)", "np.load(p)", "np.load(p, allow_pickle=False)", "subprocess.run([x])",
        "AutoConfig.from_pretrained(x, trust_remote_code=False)", "model.eval()", "re.compile(x)", "yaml.safe_load(x)",
        "AutoModelForCausalLM.from_pretrained(x, trust_remote_code=False, use_safetensors=True)",
    ):  # fmt: skip
        assert faults(source) == [], source


def test_everything_of_ours_is_looked_at():
    folders = {path.relative_to(ROOT).parts[0] for path in FILES}
    assert {"discnb", "book", "benchmarks"} <= folders and len(FILES) > 60


def named_in(page):
    return set(re.findall(r"`((?:tests|discnb|launch|book|benchmarks)/[\w/.]*)`", (ROOT / page).read_text()))


@pytest.mark.parametrize("page", ["SECURITY.md", "RELIABILITY.md"])
def test_what_the_page_names_is_there(page):
    assert [path for path in sorted(named_in(page)) if not (ROOT / path).exists()] == []


def test_the_security_page_names_every_test_of_it():
    paths = named_in("SECURITY.md")
    hostile = {f"tests/hostile/{path.name}" for path in (ROOT / "tests" / "hostile").glob("test_*.py")}
    assert hostile <= paths and "tests/test_trust.py" in paths
    assert "textContent" in (ROOT / "discnb/explore/static/view.js").read_text()
    assert "innerHTML" not in (ROOT / "discnb/explore/static/view.js").read_text()
