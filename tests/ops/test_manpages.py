from __future__ import annotations

import importlib.util
import shutil
import subprocess
import tomllib
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from shazimd import config
from shazimd.cli import command_names

CHECKOUT = Path(__file__).resolve().parents[2]
PAGES = ("shazimctl.1", "shazimd.8", "shazimd.toml.5")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("manpages", CHECKOUT / "scripts" / "manpages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_current(script: ModuleType) -> None:
    """What is committed is what scripts/manpages.py makes: run it when a command, an option or a key changes."""
    assert {name: (CHECKOUT / "man" / name).read_text() for name in PAGES} == script.pages()


def test_every_command_and_key_is_there() -> None:
    """No command and no key of the config is missing."""
    ctl, toml = (
        (CHECKOUT / "man" / name).read_text().replace("\\-", "-") for name in ("shazimctl.1", "shazimd.toml.5")
    )
    assert [name for name in command_names() if f".SS {name}\n" not in ctl] == []
    keys = [field.name for table in TABLES.values() for field in msgspec.structs.fields(table)]
    assert [key for key in keys if f".B {key}\n" not in toml] == []


TABLES: dict[str, type[msgspec.Struct]] = {
    "watch": config.WatchConfig,
    "match": config.MatchConfig,
    "alerts": config.AlertsConfig,
    "keep": config.KeepConfig,
    "model": config.ModelConfig,
    "workers": config.WorkersConfig,
    "store": config.StoreConfig,
    "server": config.ServerConfig,
    "reconcile": config.ReconcileConfig,
    "hook": config.HookConfig,
    "cluster": config.ClusterConfig,
}
REQUIRED = {"watch": {"path": "/p"}, "hook": {"name": "a"}}


@pytest.mark.parametrize(
    ("table", "key"), [(name, field.name) for name, t in TABLES.items() for field in msgspec.structs.fields(t)]
)
def test_every_key_is_explained_with_an_example_that_changes_it(script: ModuleType, table: str, key: str) -> None:
    """The example is accepted, and is another value than the default."""
    note, _, example = script._notes(TABLES[table])[key].rpartition("Example: ")
    assert len(note) > 10
    given = tomllib.loads(example)
    assert list(given) == [key]
    if table == "hook" and key not in ("command", "url"):
        given["url"] = "http://localhost/x"
    row = REQUIRED.get(table, {}) | given
    loaded = getattr(config.parse({table: [row] if table in REQUIRED else row}, "example"), table)
    value = getattr(loaded[0] if table in REQUIRED else loaded, key)
    assert value != next(field.default for field in msgspec.structs.fields(TABLES[table]) if field.name == key)


def test_the_tables_are_those_of_the_config() -> None:
    """The test above leaves out none."""
    assert list(TABLES) == list(config.Config.__struct_fields__)


@pytest.mark.parametrize("page", PAGES)
def test_the_formatter_has_nothing_to_say(page: str) -> None:
    """groff formats the page without a warning."""
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    words = ["groff", "-man", "-Tutf8", "-wall", "-z", str(CHECKOUT / "man" / page)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_a_line_of_an_example_is_no_request(script: ModuleType) -> None:
    """Text that begins like a request of the formatter is shown, not obeyed."""
    assert script._example(".so /etc/shadow\n'x\n-y") == ".nf\n.RS\n\\&.so /etc/shadow\n\\&'x\n\\-y\n.RE\n.fi\n"
