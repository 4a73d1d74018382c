"""Write the man pages from the parsers and from shazimd/config: run after a change of a command, an option or a key.

shazimctl(1) and shazimd(8) have the texts of --help; shazimd.toml(5) has the docstrings of tables and
keys.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import os
import typing

import msgspec

from shazimd import cli, config
from shazimd.config.faults import describe
from shazimd.daemon import main

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "man")

FILES = [
    ("/etc/shazimd/config.toml", "the configuration, see shazimd.toml(5); ~/.config/shazimd/config.toml of a user"),
    ("/etc/default/shazimd", "environment of the service"),
    (
        "/run/shazimd/shazimd.sock",
        "the socket; $XDG_RUNTIME_DIR/shazimd.sock of a user, or ~/.local/state/shazimd/shazimd.sock where there is no"
        " such directory (containers, su, cron)",
    ),
    ("/var/lib/shazimd", "the store and the models; ~/.local/state/shazimd of a user"),
]
SIGNALS = [
    ("SIGTERM, SIGINT", "finish the images in progress and stop"),
    (
        "SIGHUP",
        "reload the configuration; an invalid one changes nothing. Started on a terminal, without nohup(1): stop, since"
        " the terminal has closed",
    ),
]
VARIABLES = [
    ("SHAZIMD_SOCKET", "the socket for shazimctl"),
    (
        "SHAZIMD_CONFIG",
        "the configuration of shazimd; else ~/.config/shazimd/config.toml of a user, else /etc/shazimd/config.toml",
    ),
]
DAEMON = """\
shazimd only reads the files below the watched directories. Every image is decoded once and indexed by its fingerprint.
A new image that matches an indexed image raises an alert: a line at level warning, with the event near_duplicate. The
first complete scan of a directory raises no alerts.

Under systemd shazimd reports readiness and state, serves the watchdog, uses the socket of the socket unit, and logs
entries with fields to the journal. `shazimctl service install` sets this up.
"""
ANSWERS = "Results are on standard output, one line or JSON object each; errors are on standard error."
TOML = """\
TOML, in UTF-8. Required are only: path in each [[watch]], name and one of command and url in each [[hook]], host and
url for a cluster. Unknown keys and invalid values are rejected with the key, the value found and the value expected.
`shazimctl reload` applies changes without a restart, except those of [cluster], [store], [server], [workers],
[model] and [[hook]], and of verify in [match]; it names the service to restart.
"""
EXAMPLE = """\
[[watch]]
path = "/srv/photos"
exclude = ["@eaDir", "*.part"]

[[watch]]
path = "/mnt/nas/photos"
mode = "poll"

[match]
threshold = 0.8

[[hook]]
name = "mail"
command = ["/usr/local/bin/tell-me", "{verdict}", "{path}", "{match}"]
"""


def pages() -> dict[str, str]:
    """The pages by file name."""
    return {"shazimctl.1": _shazimctl(), "shazimd.8": _shazimd(), "shazimd.toml.5": _toml()}


def _shazimctl() -> str:
    top = cli.parser()
    text = (
        _head("shazimctl", 1, "query and control the shazimd daemon")
        + _synopsis(top)
        + _section("DESCRIPTION", _plain(f"{top.description} {ANSWERS}"))
    )
    text += ".SH OPTIONS\n" + _options(top) + ".SH COMMANDS\n"
    for name, command in _commands(top).items():
        text += f".SS {_escape(name)}\n{_plain(command.description or '')}" + _command(command)
    text += ".SH EXIT STATUS\n" + _example((top.epilog or "").partition("\n")[2])
    text += _list("ENVIRONMENT", VARIABLES[:1])
    return text + _see_also("shazimd(8)", "shazimd.toml(5)")


def _shazimd() -> str:
    top = main.parser()
    text = _head("shazimd", 8, "report at once when a new image is a duplicate") + _synopsis(top)
    text += _section("DESCRIPTION", _plain(f"{top.description}\n\n{DAEMON}")) + ".SH OPTIONS\n" + _options(top)
    text += ".SH EXAMPLES\n" + _example((top.epilog or "").partition("\n")[2])
    text += _list("SIGNALS", SIGNALS) + _list("FILES", FILES) + _list("ENVIRONMENT", VARIABLES[1:])
    status = [
        ("0", "stopped by a signal"),
        ("2", "usage or configuration, or a missing directory that was never scanned: correct it, and start again"),
        ("5", "could not start or continue"),
        ("6", "the store is damaged: see shazimctl store check"),
        ("75", "the disk is full or read-only, or the socket has no directory: two minutes of waiting did not help"),
    ]
    return text + _list("EXIT STATUS", status) + _see_also("shazimctl(1)", "shazimd.toml(5)", "systemd(1)")


def _toml() -> str:
    text = _head("shazimd.toml", 5, "configuration of shazimd") + _section("DESCRIPTION", _plain(TOML))
    text += ".SH TABLES\n"
    for table in msgspec.structs.fields(config.Config):
        struct = _struct_of(table.type)
        several = struct is not table.type
        text += f".SS {_escape(f'[[{table.name}]]' if several else f'[{table.name}]')}\n"
        text += _plain(inspect.getdoc(struct) or "") + _keys(struct)
    return text + ".SH EXAMPLE\n" + _example(EXAMPLE) + _see_also("shazimd(8)", "shazimctl(1)")


def _struct_of(kind: typing.Any) -> type[msgspec.Struct]:
    """Return the struct of a table, or of the elements of a tuple of tables."""
    return kind if isinstance(kind, type) else typing.get_args(kind)[0]


def _keys(struct: type[msgspec.Struct]) -> str:
    notes = _notes(struct)
    text = ""
    for field in msgspec.structs.fields(struct):
        default = "required" if field.required else f"default: {_default(field)}"
        text += f".TP\n.B {_escape(field.name)}\n{_escape(describe(field.type))}; {_escape(default)}.\n"
        if field.name in notes:
            note, _, example = notes[field.name].rpartition("Example: ")
            text += f".br\n{_plain(note)}.br\nExample: {_escape(example.strip())}\n"
    return text


def _notes(struct: type[msgspec.Struct]) -> dict[str, str]:
    """Return the docstrings below the keys, which Python discards."""
    tree = ast.parse(inspect.getsource(struct)).body[0]
    assert isinstance(tree, ast.ClassDef)
    notes = {}
    for line, after in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and isinstance(after, ast.Expr):
            assert isinstance(after.value, ast.Constant)
            notes[line.target.id] = inspect.cleandoc(str(after.value.value))
    return notes


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.name == "processes":
        return "one for each processor, at most 8"  # the page is the same on every machine
    return "none" if field.default is None else msgspec.json.encode(field.default).decode().replace(",", ", ")


def _commands(top: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _command(command: argparse.ArgumentParser) -> str:
    text = f".PP\n{_usage(command)}" + _options(command)
    for verb in _commands(command).values():
        text += f".PP\n{_usage(verb)}" + _options(verb)
    return text + (".PP\n" + _example(command.epilog.partition("\n")[2]) if command.epilog else "")


def _usage(parser: argparse.ArgumentParser) -> str:
    usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
    return f".B {_escape(usage)}\n"


def _synopsis(parser: argparse.ArgumentParser) -> str:
    return ".SH SYNOPSIS\n" + _usage(parser)


def _options(parser: argparse.ArgumentParser) -> str:
    text = ""
    for action in parser._actions:
        hidden = action.help == argparse.SUPPRESS
        if not hidden and not isinstance(action, argparse._SubParsersAction | argparse._HelpAction):
            words = ", ".join(action.option_strings) or str(action.metavar or action.dest)
            takes = action.option_strings and action.nargs != 0
            value = f" {action.metavar or '{' + ','.join(map(str, action.choices or [])) + '}'}" if takes else ""
            text += f".TP\n.B {_escape(words + value)}\n{_plain(_help(action))}"
    return text


def _help(action: argparse.Action) -> str:
    if action.help:
        return action.help % vars(action)
    return f"default: {action.default}" if action.default is not None else ""


def _head(name: str, section: int, does: str) -> str:
    return f'.TH {name.upper()} {section} "" "shazimd"\n.SH NAME\n{_escape(name)} \\- {does}\n'


def _section(title: str, text: str) -> str:
    return f".SH {title}\n{text}"


def _list(title: str, items: list[tuple[str, str]]) -> str:
    return f".SH {title}\n" + "".join(f".TP\n.B {_escape(name)}\n{_plain(text)}" for name, text in items)


def _see_also(*others: str) -> str:
    return ".SH SEE ALSO\n" + ", ".join(others) + "\n"


def _plain(text: str) -> str:
    """Format paragraphs; the formatter joins their lines."""
    return "\n.PP\n".join(_lines(paragraph) for paragraph in text.strip().split("\n\n")) + "\n"


def _example(text: str) -> str:
    lines = "\n".join(line.removeprefix("  ") for line in text.strip("\n").splitlines())
    return f".nf\n.RS\n{_lines(lines)}\n.RE\n.fi\n"


def _lines(text: str) -> str:
    """Escape lines that would begin with a request of the formatter."""
    return "\n".join(("\\&" if line.startswith((".", "'")) else "") + _escape(line) for line in text.splitlines())


def _escape(text: str) -> str:
    return text.replace("\\", "\\e").replace("-", "\\-")


def write() -> None:
    for name, text in pages().items():
        with open(os.path.join(FOLDER, name), "w", encoding="utf-8") as page:
            page.write(text)


if __name__ == "__main__":
    write()
