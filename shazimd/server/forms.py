"""The files of a form (multipart/form-data, RFC 7578), each written into memory of its own as it comes."""

from __future__ import annotations

from collections.abc import Sequence

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from shazimd.errors import TooLarge, UsageError
from shazimd.posix.sealed import GrowingBytes, SealedBytes

_DISPOSITION = b"content-disposition"


class FormFiles:
    """Takes the bytes of a form piece by piece. All methods raise UsageError for another form than expected."""

    def __init__(self, content_type: str, names: Sequence[str], max_bytes: int) -> None:
        """``names`` of the files, of which each has at most ``max_bytes``."""
        self._names = names
        self._max_bytes = max_bytes
        self._files: dict[str, SealedBytes] = {}
        self._header, self._value, self._name = b"", b"", ""
        self._file = GrowingBytes()
        self._expected = f"expected multipart/form-data with the files {' and '.join(names)}"
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise UsageError(f"the body is no form, {self._expected}")
        try:
            self._parser = MultipartParser(
                options[b"boundary"],
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_part_data": self._on_data,
                    "on_part_end": self._end,
                },
            )
        except FormParserError as error:
            raise UsageError(f"the form can't be read: {error}") from error

    def write(self, piece: bytes) -> None:
        """Also raises TooLarge, and OSError without memory."""
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise UsageError(f"the form can't be read: {error}") from error

    def files(self) -> list[SealedBytes]:
        """The files in the order of the names, once the form is whole."""
        if self._files.keys() != set(self._names):
            raise UsageError(f"the form has {' and '.join(sorted(self._files)) or 'no file'}, {self._expected}")
        return [self._files[name] for name in self._names]

    def _begin(self) -> None:
        self._header, self._value, self._name = b"", b"", ""
        self._file = GrowingBytes()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == _DISPOSITION:
            _, options = parse_options_header(self._value)
            self._name = options.get(b"name", b"").decode(errors="replace")
        self._header, self._value = b"", b""

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._name not in self._names or self._name in self._files:
            raise UsageError(f"the form has another part, {self._expected}, once each")
        if len(self._file) + end - start > self._max_bytes:
            raise TooLarge(f"{self._name}: the file has more than {self._max_bytes} bytes, expected at most as many")
        self._file.write(memoryview(data)[start:end])

    def _end(self) -> None:
        self._files[self._name] = SealedBytes(self._file)
