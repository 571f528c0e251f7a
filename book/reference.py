"""Writes the reference pages that come from the code: the command line and every setting.

Both are committed, so that they can be read on the web and a test can say when they are stale.
"""

import ast
from itertools import pairwise
from pathlib import Path

import typer.main

SETTINGS = [
    ("data", "DataConfig", "config"),
    ("teacher", "TeacherConfig", "config"),
    ("student", "StudentConfig", "config"),
    ("objective", "DiscObjective", "objective"),
    ("train", "TrainConfig", "config"),
    ("export", "ExportConfig", "config"),
]


def command_line():
    """The page of the command `discnb`, from its own help texts."""
    from discnb.cli import EXIT_CODES, app

    group = typer.main.get_command(app)
    lines = ["# The command line", "", "Written by `book/reference.py` from the help texts of `discnb`.", ""]
    for name, command in group.commands.items():
        lines += [f"## `discnb {name}`", "", (command.help or "").strip(), "", "| | |", "|---|---|"]
        for parameter in command.params:
            names = ", ".join(f"`{n}`" for n in parameter.opts)
            help_text = (getattr(parameter, "help", None) or "").replace("\n", " ").replace("|", "\\|")
            lines.append(f"| {names} | {help_text} |")
        lines.append("")
    lines += ["## Exit codes", "", "| | |", "|---|---|"]
    lines += [f"| {code} | {what} |" for code, what in EXIT_CODES.items()]
    lines.append("")
    return "\n".join(lines)


def settings(root):
    """The page's part on settings, from the docstrings under the fields."""
    lines = ["## Settings", "", "Each can be given as `--set name=value`, or in `overrides` of the notebook.", ""]
    for section, cls, module in SETTINGS:
        tree = ast.parse((root / "discnb" / f"{module}.py").read_text())
        [body] = [n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == cls]
        lines += [f"### `{section}`", "", "| setting | default | |", "|---|---|---|"]
        for field, text in pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                default = ast.unparse(field.value) if field.value else ""
                meaning = " ".join(text.value.value.split()).replace("|", "\\|")
                lines.append(f"| `{section}.{field.target.id}` | `{default}` | {meaning} |")
        lines.append("")
    return "\n".join(lines)


def write(root):
    """Write `book/cli.md`."""
    page = root / "book" / "cli.md"
    text = command_line() + "\n" + settings(Path(root))
    if not page.exists() or page.read_text() != text:
        page.write_text(text)
