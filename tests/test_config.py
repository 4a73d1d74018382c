from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shazimd import config
from shazimd.errors import ConfigError
from shazimd.types import DEFAULT_WEIGHTS


def test_defaults_stand_for_every_key_that_is_missing() -> None:
    """A root's path is all that a config needs."""
    loaded = config.parse({"watch": [{"path": "/srv/p"}]}, "config.toml")
    assert ("/srv/p", 0.75, DEFAULT_WEIGHTS) == (loaded.watch[0].path, loaded.match.threshold, loaded.match.weights)


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("0s", 0), ("90s", 90), ("15m", 900), ("2h", 7200), ("30d", 2_592_000)]
)
def test_a_time_is_a_number_with_a_unit(text: str, seconds: int) -> None:
    """Seconds, minutes, hours or days."""
    assert config.parse({"store": {"keep_deleted": text}}, "c").store.keep_deleted_s == seconds


@pytest.mark.parametrize("text", ["30", "d", "1w", "-1d", "1.5h", "1 d", ""])
def test_a_time_without_a_unit_is_refused(text: str) -> None:
    """The error names the key and what was found."""
    with pytest.raises(ConfigError, match=f'c: store.keep_deleted is "{text}"'):
        config.parse({"store": {"keep_deleted": text}}, "c")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (
            {"watch": [{"path": "/a", "settle_ms": "fast"}]},
            'c: watch[0].settle_ms is "fast", expected a whole number from 0 to 60000',
        ),
        ({"watch": [{"path": "/a", "mode": "x"}]}, 'c: watch[0].mode is "x", expected "auto", "inotify" or "poll"'),
        ({"watch": [{}]}, "c: watch[0] is {}, expected the key path in it"),
        ({"watch": {"path": "/a"}}, 'c: watch is {"path": "/a"}, expected a list of tables'),
        ({"macth": {}}, "c: macth is not a known key; did you mean match?; see shazimd.toml(5)"),
        (
            {"match": {"thresold": 2}},
            "c: match.thresold is not a known key; did you mean threshold?; see shazimd.toml(5)",
        ),
        (
            {"match": {"verdicts": []}},
            "c: match.verdicts is not a known key; it is a key of [[watch]] and [alerts] and [[hook]]; "
            "see shazimd.toml(5)",
        ),
        ({"path": "/a"}, "c: path is not a known key; it is a key of [[watch]] and [store]; see shazimd.toml(5)"),
        ({"match": {"xyz": []}}, "c: match.xyz is not a known key; see shazimd.toml(5)"),
        ({"hook": [{"name": "a", "command": []}]}, "c: hook[0].command is [], expected a list of strings, at least 1"),
        (
            {"hook": [{"name": "a/b"}]},
            'c: hook[0].name is "a/b", expected up to 64 letters, digits, underscores and hyphens',
        ),
        ({"store": 3}, "c: store is 3, expected a table"),
        ({"match": {"threshold": 2}}, "c: match.threshold is 2, expected a number from 0 to 1"),
        ({"match": {"threshold": float("nan")}}, "c: match.threshold is NaN, expected a number from 0 to 1"),
        ({"match": {"weights": [1, "2", 3]}}, 'c: match.weights[1] is "2", expected a number'),
        (
            {"match": {"weights": [1, 2]}},
            "c: match.weights: weights are [1.0, 2.0], expected 3 numbers >= 0 that are not all zero",
        ),
        (
            {"match": {"weights": [0, 0, 0]}},
            "c: match.weights: weights are [0.0, 0.0, 0.0], expected 3 numbers >= 0 that are not all zero",
        ),
        ({"server": {"mode": "999"}}, 'c: server.mode is "999", expected permissions in octal, such as "0660"'),
        (
            {"alerts": {"verdicts": ["bad"]}},
            'c: alerts.verdicts[0] is "bad", expected "exact", "copy", "variant", "scene" or "similar"',
        ),
    ],
)
def test_a_fault_names_the_key_what_was_found_and_what_was_expected(raw: dict[str, Any], expected: str) -> None:
    """Whoever reads the message knows what to change."""
    with pytest.raises(ConfigError) as caught:
        config.parse(raw, "c")
    assert expected == str(caught.value)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"watch": [{"path": 1}]}, "Expected `str`, got `int` - at `$.watch[0].path`"),
        ({"watch": [{"path": "/", "mode": "x"}]}, "Invalid enum value 'x' - at `$.watch[0].mode`"),
        ({"watch": [{}]}, "Object missing required field `path` - at `$.watch[0]`"),
        ({"macth": {}}, "Object contains unknown field `macth`"),
        ({"match": {"thresold": 2}}, "Object contains unknown field `thresold` - at `$.match`"),
        ({"hook": [{"name": "a"}]}, "it has both or neither of command and url, expected one of them - at `$.hook[0]`"),
    ],
)
def test_msgspec_words_its_messages_as_we_read_them(raw: dict[str, Any], expected: str) -> None:
    """Our messages are made from its own, which are no part of its interface."""
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(raw, config.Config)
    assert expected == str(caught.value)


PATHS = ("watch[0].path", "store.path", "server.socket")


def with_paths(path: str) -> dict[str, Any]:
    """A config with this path at each key of PATHS."""
    return {"watch": [{"path": path}], "store": {"path": path}, "server": {"socket": path}}


@pytest.mark.parametrize("given", ["~/p", "$PLACE/p", "${PLACE}/p"])
def test_home_and_variables_are_replaced_in_every_path(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    """As a shell would."""
    monkeypatch.setenv("HOME", "/home/u")
    monkeypatch.setenv("PLACE", "/home/u")
    loaded = config.parse(with_paths(given), "c")
    assert [loaded.watch[0].path, loaded.store.path, loaded.server.socket] == ["/home/u/p"] * 3


def test_a_directory_with_a_dollar_in_its_name_is_itself(tmp_path: Path) -> None:
    """A path that exists is taken as it is."""
    (tmp_path / "$RECYCLE.BIN").mkdir()
    path = str(tmp_path / "$RECYCLE.BIN")
    assert config.parse({"watch": [{"path": path}]}, "c").watch[0].path == path


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ("photos", "expected an absolute path; ~ and $VARIABLES are replaced"),
        ("~nosuchuser/p", "expected an absolute path; ~ and $VARIABLES are replaced"),
        ("/srv/\0p", "expected a path without a NUL character"),
        ("$NOSUCH/p", "but the variable NOSUCH is not set"),
    ],
)
def test_a_path_that_is_none_or_relative_is_refused(given: str, fault: str) -> None:
    """A relative one would depend on the directory in which the daemon was started."""
    for key, (table, value) in zip(PATHS, with_paths(given).items(), strict=True):
        with pytest.raises(ConfigError) as caught:
            config.parse({table: value}, "c")
        assert f"c: {key} is {json.dumps(given)}, {fault}" == str(caught.value)


def test_a_variable_that_is_not_set_may_be_the_name_of_an_unmounted_directory() -> None:
    """Of a watched one, by an absolute path: the store knows it. The others are refused."""
    path = "/mnt/${NOSUCH}/p"
    (root,) = config.parse({"watch": [{"path": path, "only_against": [path]}]}, "c").watch
    assert (path, (path,)) == (root.path, root.only_against)
    for key in ("store.path", "server.socket"):
        table, name = key.split(".")
        with pytest.raises(ConfigError, match=re.escape(f'c: {key} is "{path}", but the variable NOSUCH is not set')):
            config.parse({table: {name: path}}, "c")


def test_a_message_of_another_form_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later msgspec may word its messages otherwise: the error is still a ConfigError with all that it says."""

    def convert(*_: object) -> None:
        raise msgspec.ValidationError("`$.new[0].form`: bad - at `$.new[0].form`")

    monkeypatch.setattr(msgspec, "convert", convert)
    with pytest.raises(ConfigError, match=r"^c: `\$\.new\[0\]\.form`: bad - at"):
        config.parse({}, "c")


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    """The position of the fault is given."""
    path = tmp_path / "config.toml"
    path.write_text("[watch\n")
    with pytest.raises(ConfigError, match=r"config\.toml: not a TOML file: .*line 1"):
        config.load(str(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A config that was asked for must be there."""
    with pytest.raises(ConfigError, match=r"none\.toml: No such file"):
        config.load(str(tmp_path / "none.toml"))


def test_docstrings_name_keys_that_there_are() -> None:
    """Such as ``[workers] max_file_mb``."""
    texts = [path.read_text() for path in Path(config.__file__).parents[1].rglob("*.py")]
    named = {found for text in texts for found in re.findall(r"``\[+(\w+)\]+ (\w+)", text)}
    sections = {name: getattr(config, f"{name.title()}Config") for name in config.Config.__struct_fields__}
    keys = {(name, key) for name, section in sections.items() for key in section.__struct_fields__}
    assert ("workers", "max_file_mb") in named
    assert named - keys == set()
