"""The documents tell the truth: every command is there, with every flag it is shown with; links lead somewhere."""

import contextlib
import importlib
import importlib.util
import io
import re
import shlex
from functools import cache
from pathlib import Path

import pytest

from tuner.cli import COMMANDS, load_command

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    path
    for path in [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("benchmarks/*.md")]
    if path.name != "CHANGELOG.md"
]
OUR_MODULE = re.compile(r"(?:graphdb|model|tuner)\.\w+")


def fenced_blocks(text: str) -> list[str]:
    return re.findall(r"^```(?:bash|sh|console)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def commands(path: Path) -> list[tuple[str, list[str]]]:
    """(module, arguments) of every `python -m` or `crystune` command in the code blocks of a document."""
    found: list[tuple[str, list[str]]] = []
    for block in fenced_blocks(path.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            line = line.strip("'\" ")
            match = re.search(r"python3? (?:-u )?-m (\S+)(.*)", line)
            if match is None and (match := re.match(r"(?:\S*/)?crystune (\S+)(.*)", line)):
                found.append(("tuner.cli", []))
            if match:
                arguments = shlex.split(match.group(2).replace("'", ""), comments=True)
                module = COMMANDS[match.group(1)][0] if match.group(1) in COMMANDS else match.group(1)
                found.append((module, arguments))
    return found


@cache
def help_of(module: str, *subcommand: str) -> str:
    main = load_command(module).main
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as stop:
        main([*subcommand, "--help"])
    assert stop.value.code == 0
    return out.getvalue()


WITH_SUBCOMMANDS = {"tuner.remote"}
CASES = [(path.name, module, arguments) for path in DOCUMENTS for module, arguments in commands(path)]


def test_readme_opens_with_the_two_commands() -> None:
    blocks = fenced_blocks((REPOSITORY / "README.md").read_text(encoding="utf-8"))
    assert {"make search", "make test"} <= {line.partition("#")[0].strip() for line in blocks[0].splitlines()}


@pytest.mark.parametrize(("document", "module", "arguments"), CASES, ids=lambda value: str(value)[:60])
def test_documented_command_exists_with_its_flags(document: str, module: str, arguments: list[str]) -> None:
    if not OUR_MODULE.fullmatch(module):
        return  # pip, venv and the like
    assert importlib.util.find_spec(module) is not None, f"{document}: no module {module}"
    known = set(
        re.findall(
            r"(?<![\w-])--?[a-zA-Z][\w-]*", help_of(module, *(arguments[:1] if module in WITH_SUBCOMMANDS else ()))
        )
    )
    for argument in arguments:
        if argument.startswith("-"):
            assert argument.partition("=")[0] in known, f"{document}: {module} does not know {argument}"


def test_readme_shows_every_entry_point() -> None:
    shown = {module for _, module, _ in CASES}
    entry_points = {
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__main__")
        for package in ("graphdb", "model", "tuner")
        for path in [*(REPOSITORY / package).glob("*.py"), *(REPOSITORY / package).glob("*/__main__.py")]
        if "def main(argv" in path.read_text(encoding="utf-8")
    }
    assert entry_points - shown == set()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        linked = (path.parent / file) if file else path
        assert linked.exists(), f"{path.name}: {target} leads nowhere"
        if anchor and linked.suffix == ".md":
            assert anchor in anchors(linked), f"{path.name}: no heading for #{anchor}"


def anchors(path: Path) -> set[str]:
    """The anchors that a renderer makes of the headings of a Markdown file."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_file_that_the_readme_lists_exists() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([\w./-]+)` \|", text, flags=re.MULTILINE)
    missing = [name for name in listed if "/" in name and not (REPOSITORY / name).exists()]
    assert missing == []


def test_no_document_is_left_unfinished() -> None:
    for path in DOCUMENTS:
        assert not re.search(r"\b(?:TODO|FIXME|FILL IN)\b", path.read_text(encoding="utf-8")), path.name
