"""The rules of the house that a program can check: plain language, distinct names, small constructors, few modules."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from shazimd.cli import command_names

PACKAGE = Path(__file__).resolve().parent.parent / "shazimd"
ARCHITECTURE = PACKAGE.parent / "ARCHITECTURE.md"

VAGUE_WORDS = {"what", "who", "where", "that", "one", "it", "so"}
VAGUE_SHARE_MAX = 0.035
"""Share of vague words in docstrings: well-regarded code bases have 2 to 3 %."""
RIDDLE = re.compile(r"(?:^|[.;:] +|\n\s*\n\s*)(?:What|Who|Where|Nobody|Whoever)\b[^.?]*\.")
PARAMETERS_MAX = 7
TOP_LEVEL_MODULES_MAX = 10
DEPTH_MAX = 2
"""Folders below the package."""
OTHER_PROCESSES = {"cli", "cluster", "engine.py", "hooks.py", "web"}
"""Rooms and modules with threads outside of the daemon."""


@cache
def modules() -> list[tuple[Path, ast.Module]]:
    return [(path.relative_to(PACKAGE), ast.parse(path.read_text())) for path in sorted(PACKAGE.rglob("*.py"))]


def docstrings(tree: ast.Module) -> Iterator[str]:
    """Docstrings of modules, classes and functions, and strings that document an attribute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def test_docstrings_name_their_nouns() -> None:
    """Few words of the docstrings are what, who, where, that, one, it or so."""
    counted = [word for _, tree in modules() for text in docstrings(tree) for word in words(text)]
    vague = sum(word in VAGUE_WORDS for word in counted)
    assert vague / len(counted) < VAGUE_SHARE_MAX, f"{vague} of {len(counted)}; see: python {__file__}"


def test_no_docstring_sentence_begins_with_a_riddle() -> None:
    """No sentence begins with What, Who, Where or Nobody."""
    riddles = [
        f"{path}: {m[0]}" for path, tree in modules() for text in docstrings(tree) for m in RIDDLE.finditer(text)
    ]
    assert riddles == []


def test_a_class_name_has_one_meaning() -> None:
    """No two modules define classes of the same public name."""
    defined: defaultdict[str, list[str]] = defaultdict(list)
    for path, tree in modules():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                defined[node.name.lstrip("_")].append(str(path))
    assert {name: paths for name, paths in defined.items() if len(paths) > 1} == {}


def test_constructors_take_few_parameters() -> None:
    """A constructor takes at most seven parameters besides self."""
    large = []
    for path, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                taken = len(node.args.posonlyargs + node.args.args + node.args.kwonlyargs) - 1
                if taken > PARAMETERS_MAX:
                    large.append(f"{path}:{node.lineno} takes {taken}")
    assert large == []


def test_the_top_level_is_small_and_the_tree_is_flat() -> None:
    """Ten modules at the top at most, and no folder more than two deep."""
    assert len(list(PACKAGE.glob("*.py"))) <= TOP_LEVEL_MODULES_MAX
    assert max(len(path.parts) - 1 for path, _ in modules()) <= DEPTH_MAX


def the_map() -> str:
    """The map in ARCHITECTURE.md."""
    _, _, parts = ARCHITECTURE.read_text().partition("## The map")
    return parts.partition("Imports point down")[0]


def room(name: str) -> str:
    """A room's part of the map."""
    found = re.search(rf"^    {name}/.*(?:\n {{8}}.*)*", the_map(), re.M)
    assert found, f"ARCHITECTURE.md: the map has no {name}/"
    return found[0]


def test_the_map_names_every_module() -> None:
    """A newcomer finds each module in ARCHITECTURE.md; those of commands have the commands' names."""
    commands = command_names()
    unnamed = [
        str(path)
        for path, _ in modules()
        if len(path.parts) == 2 and path.stem != "__init__" and path.stem not in commands
        if not re.search(rf"\b{path.stem}\b", room(path.parts[0]))
    ]
    assert unnamed == [], "expected in the map of ARCHITECTURE.md"


def test_imports_point_down_the_map() -> None:
    """A room imports rooms below it alone, also inside functions and for types."""
    places = re.findall(r"^    (?=\w)(.*)", the_map(), re.M)
    rooms = [name for line in places for name in re.findall(r"(\w+)(?:/|\.py)(?:,? |$)", line)]
    upwards = []
    for path, tree in modules():
        own = path.parts[0].removesuffix(".py")
        for other in imported_rooms(tree) - {own} if own != "__init__" else ():
            if rooms.index(other) < rooms.index(own):
                upwards.append(f"{path} imports {other}")
    assert upwards == []
    assert len(rooms) > 20


def imported_rooms(tree: ast.Module) -> set[str]:
    """Rooms, and modules at the top, that a module imports from."""
    named = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "shazimd":
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            named.add(node.module.removeprefix("shazimd.") if node.module.startswith("shazimd.") else "")
        elif isinstance(node, ast.Import):
            named |= {alias.name.removeprefix("shazimd.") for alias in node.names if "shazimd." in alias.name}
    return {name.split(".")[0] for name in named} - {"", "__version__"}


def test_what_the_lives_name_exists() -> None:
    """The functions named in the life of a file, the life of a query and the places of changes are there."""
    text = ARCHITECTURE.read_text()
    told = "".join(part for part in text.split("\n## ") if part.startswith(("The life of", "Where a change begins")))
    named = re.findall(r"`(?:([a-z]\w*(?:/\w+)?)\.|(?=[A-Z]\w+\.))((?:[A-Z]\w+\.)?\w+)`", told)
    defined = {path: set(definitions(tree)) for path, tree in modules()}
    missing = []
    for module, name in named:
        places = [names for path, names in defined.items() if not module or dotted(path) == module]
        if not any(name in names for names in places):
            missing.append(f"{module}.{name}")
    assert missing == []
    assert len(named) > 30


def test_each_type_that_is_decoded_is_learned_first() -> None:
    """See ``types.decodable``: but for it, two threads that decode a class for the first time end the daemon."""
    asked = [(path, kind) for path, tree in modules() for kind in decoded_types(tree)]
    assert len(asked) > 10
    plain = {"list[str]", "dict[str, Any]"}  # they name no class, whose description would be kept
    assert [(path, kind) for path, kind in asked if not kind.startswith("decodable(") and kind not in plain] == []


def test_threads_and_locks_stand_in_their_tables() -> None:
    """Each module of the daemon that starts a thread or makes a lock is in the tables at the end of ARCHITECTURE.md."""
    _, _, tables = ARCHITECTURE.read_text().partition("## Threads and locks")
    made = {
        str(path)
        for path, _ in modules()
        if str(path.parts[0]) not in OTHER_PROCESSES
        if re.search(
            r"threading\.(?:Thread|Timer|R?Lock|Condition)\(|ThreadPoolExecutor\(", (PACKAGE / path).read_text()
        )
    }
    assert {path for path in made if f"`{path}`" not in tables} == set()


def dotted(path: Path) -> str:
    """A module as ARCHITECTURE.md names it: "cli" for cli/__init__.py."""
    return str(path.with_suffix("")).removesuffix("/__init__")


def decoded_types(tree: ast.Module) -> Iterator[str]:
    """The types that a module gives to ``decode``, ``convert`` and ``Decoder`` of msgspec."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            if "type" in given and name.endswith("decode"):
                yield ast.unparse(given["type"])
            elif name == "msgspec.convert":
                yield ast.unparse(node.args[1])
            elif name.endswith("msgpack.Decoder"):
                yield ast.unparse(node.args[0])


def definitions(tree: ast.Module) -> Iterator[str]:
    """Functions, classes, constants and "Class.method" of a module."""
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
            if isinstance(node, ast.ClassDef):
                yield from (f"{node.name}.{each.name}" for each in node.body if isinstance(each, ast.FunctionDef))


def test_no_numpy_without_pictures() -> None:
    """It takes 12 MiB and 50 ms of a processor: of programs that stay (link, hooks), and of those that a user or a
    start after a crash waits for."""
    loaded = ("shazimd.cluster.link", "shazimd.hooks", "shazimd.acting.plan", "shazimd.store.inspection")
    program = f"import sys, {', '.join(loaded)}; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "False\n" == done.stdout


def main() -> None:
    """Print each module's share of vague words, worst last, and the source lines in all."""
    lines = 0
    rows = []
    for path, tree in modules():
        counted = [word for text in docstrings(tree) for word in words(text)]
        vague = sum(word in VAGUE_WORDS for word in counted)
        riddles = sum(1 for text in docstrings(tree) for _ in RIDDLE.finditer(text))
        source = sum(bool(line.strip()) for line in (PACKAGE / path).read_text().splitlines())
        lines += source
        rows.append((vague / max(len(counted), 1), vague, len(counted), riddles, source, path))
    for share, vague, counted_words, riddles, source, path in sorted(rows):
        print(f"{share:6.1%}  {vague:4d} of {counted_words:5d} words  {riddles:3d} riddles  {source:4d} lines  {path}")
    print(f"{sum(r[1] for r in rows) / sum(r[2] for r in rows):6.1%}  in all, {lines} source lines that are not blank")


if __name__ == "__main__":
    main()
