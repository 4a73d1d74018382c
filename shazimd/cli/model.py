"""`shazimctl model`."""

from __future__ import annotations

import os
import sys

from shazimd.cli import add_json
from shazimd.cli.output import report_none, say, say_as, say_json, size, word_text
from shazimd.cli.working import Working
from shazimd.client import Client
from shazimd.errors import BadInput, Unreadable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from shazimd.protocol.status import InstalledModel, InstallProgress

HELP = "install or list models"
EXAMPLE = """\
examples:
  shazimctl model install https://tfhub.dev/google/imagenet/mobilenet_v2_140_224/feature_vector/5
  shazimctl model install onnx:/srv/models/embedding.onnx
  shazimctl model list

A model is used once [model] handle in the configuration names it. Installing downloads and converts the model in a
separate process; an interruption cancels it. A directory or a file is read by this command and sent to the daemon,
which keeps it under its absolute path. The system service has no network: there a TF Hub model comes by
`sudo systemctl start shazimd-model`.
"""


def add_arguments(parser: ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    install = verbs.add_parser("install", help="download, convert and store a model")
    install.add_argument(
        "handle",
        metavar="HANDLE",
        help="the configured handle, a TF Hub URL, a SavedModel directory, a .tflite file, or onnx:FILE",
    )
    add_json(install)
    add_json(verbs.add_parser("list", help="list the installed models"))


def run(args: Namespace) -> int:
    client = Client(args.socket)
    return _install(client, args) if args.verb == "install" else _list(client, args)


def _install(client: Client, args: Namespace) -> int:
    with Working("reading the model") as working:
        for step in client.install_model(*_opened(args.handle)):
            if args.json:
                working.close()
                say_json(step)
            elif sys.stderr.isatty() and "model" not in step:
                working.show(step["stage"])
            else:
                working.close()
                say(_step(step))
    return 0


def _opened(handle: str) -> tuple[str, bytes]:
    """The handle with an absolute path, and the bytes of the model there; of any other handle no bytes.

    Raises BadInput."""
    scheme = "onnx:" if handle.startswith("onnx:") else ""
    path, mark, options = handle.removeprefix(scheme).partition("#")
    there = os.path.exists(path)
    path = os.path.abspath(path) if there else path
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise BadInput(f"{word_text(path)}: a name that is not UTF-8, which no configuration can hold") from error
    return (f"{scheme}{path}{mark}{options}", _read(path)) if there else (handle, b"")


def _read(path: str) -> bytes:
    """The bytes of the file, or of a tar.gz of the directory. Raises Unreadable, BadInput."""
    import io
    import tarfile

    try:
        if not os.path.isdir(path):
            with open(path, "rb") as file:
                data = file.read()
        else:
            packed = io.BytesIO()
            with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1, dereference=True) as archive:
                archive.add(path, arcname=".")
            data = packed.getvalue()
    except OSError as error:
        raise Unreadable(f"{error.filename or path}: {error.strerror}") from error
    if not data:
        raise BadInput(f"{path}: empty, expected a model")
    return data


def _list(client: Client, args: Namespace) -> int:
    models = client.models()
    for model in models:
        say_as(args, model, _line(model) + (" (active)" if model["active"] else ""))
    return 0 if models else report_none("models installed")


def _step(step: InstallProgress) -> str:
    return f"{step['stage']}: {_line(step['model'])}" if "model" in step else step["stage"]


def _line(model: InstalledModel) -> str:
    licence = model["licence"] or "licence unknown"
    return f"{model['id']} {model['source']}, {model['output_width']} numbers, {size(model['size_bytes'])}, {licence}"
