"""The closed list of reasons of a refused path has what the code says, and nothing else."""

import ast
from collections.abc import Iterator
from pathlib import Path

from pcgrelay.reasons import PATH_REASONS

CONTROL = Path(__file__).resolve().parents[2] / "src" / "pcgrelay"
PACKAGES = ("path", "session")
SAYERS = {"PathRefusal", "PathRefused", "_refuse", "refuse"}
# Functions whose answer is such a word.
DECIDERS = {"sender_refusal", "setup_refusal", "reach_refusal", "refusal"}
FILES = {"path/edge.py", "session/table.py", "session/pending.py"}
# Said by an edge to itself alone, or answered by another kind of message.
OWN = {"shut_out"}


def strings(node: ast.AST) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and each.value:
            yield each.value


def constants_of(tree: ast.Module) -> dict[str, str]:
    return {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value.value, str)
    }


def said_by(node: ast.AST, file: str) -> Iterator[ast.AST]:
    """The parts of a statement that are such words."""
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        yield from node.args if name in SAYERS else ()
    elif isinstance(node, ast.FunctionDef) and node.name in DECIDERS and file in FILES:
        yield from (each.value for each in ast.walk(node) if isinstance(each, ast.Return) and each.value is not None)


def words_said() -> set[str]:
    found: set[str] = set()
    for path in (file for package in PACKAGES for file in (CONTROL / package).glob("*.py")):
        tree = ast.parse(path.read_text())
        constants = constants_of(tree)
        for node in ast.walk(tree):
            for part in said_by(node, path.relative_to(CONTROL).as_posix()):
                found |= set(strings(part))
                names = {each.id for each in ast.walk(part) if isinstance(each, ast.Name)}
                found |= {constants[name] for name in names & constants.keys()}
    return found


def test_the_list_has_each_word_that_is_said() -> None:
    said = words_said() - OWN
    assert {word for word in said if " " not in word} <= PATH_REASONS


def test_words_are_found() -> None:
    assert {"malformed", "glare", "no_route", "too_many_handshakes", "session_id_taken"} <= words_said()
