"""Reading documents from a file: JSON lines, a JSON array, a table (CSV) or Parquet.

In bounded memory, a batch at a time; each document comes with the number of its line.
What cannot be read is a fault of its line, not the end of the file. Synchronous: under
an event loop it is called in a thread.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO, Final, NamedTuple

import msgspec

from aurora_actors.client.import_parquet import read_rows
from aurora_actors.errors import (
    AuroraError,
    DataError,
    LimitExceededError,
    UsageError,
    ValidationError,
)
from aurora_actors.schema.text import from_cell, from_json
from aurora_actors.schema.types import CollectionDefinition

__all__ = ["FORMATS", "Batch", "Item", "Source", "format_of"]

FORMATS: Final = ("jsonl", "json", "csv", "parquet")
_SUFFIXES: Final = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".parquet": "parquet",
}
_LONGEST: Final = 128 << 20
_BATCH_DOCUMENTS: Final = 2_000
_BATCH_BYTES: Final = 1 << 20
_READ: Final = 1 << 16


class Item(NamedTuple):
    """A document of the file, or why there is none.

    Attributes:
        line: Where it begins, from 1.
        fields: The document with its id, if the file has one.
        error: What is wrong with it.
    """

    line: int
    fields: dict[str, object] | None
    error: AuroraError | None


class Batch(NamedTuple):
    """Some documents, and how far the file has been read."""

    items: list[Item]
    position: int


def format_of(path: Path, given: str | None) -> str:
    """The format of a file, by its name unless it is ``given``.

    Raises:
        UsageError: there is no such format, or the name does not say.
    """
    found = given or _SUFFIXES.get(path.suffix.lower())
    if found not in FORMATS:
        what = (
            f"there is no format {given!r}" if given else f"{path.name} has no suffix"
        )
        raise UsageError(f"{what} that is known: use one of {', '.join(FORMATS)}")
    return found


class Source:
    """A file of documents for one collection; use it with ``with``, then iterate.

    Args:
        file: The open file; closed by the caller.
        kind: One of :data:`FORMATS`.
        definition: Says which texts stand for dates, numbers and the like.
    """

    def __init__(
        self, file: BinaryIO, kind: str, definition: CollectionDefinition
    ) -> None:
        self._file = file
        self._types = definition.fields
        self._position = 0
        self._definition = definition
        readers = {
            "jsonl": self._lines,
            "json": self._array,
            "csv": self._table,
            "parquet": self._rows,
        }
        self._items = readers[kind]()

    def next_batch(self) -> Batch:
        """The next documents; none at the end."""
        items: list[Item] = []
        start = self._position
        for item in self._items:
            items.append(item)
            if len(items) >= _BATCH_DOCUMENTS or self._position - start >= _BATCH_BYTES:
                break
        return Batch(items, self._position)

    def _read(self, line: int, value: object) -> Item:
        if not isinstance(value, dict):
            return Item(line, None, _no_object(value))
        try:
            return Item(line, from_json(value, self._types), None)
        except DataError as exc:
            return Item(line, None, exc)

    # -------------------------------------------------------------- JSON lines
    def _lines(self) -> Iterator[Item]:
        decode = msgspec.json.decode
        number = 0
        while data := self._file.readline(_LONGEST + 1):
            number += 1
            self._position += len(data)
            if len(data) > _LONGEST:
                yield Item(number, None, _too_long(number))
                return
            if number == 1:
                data = data.removeprefix(b"\xef\xbb\xbf")
            if data.isspace():
                continue
            try:
                value = decode(data)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
                yield Item(number, None, ValidationError(f"no JSON: {exc}"))
            else:
                yield self._read(number, value)

    # -------------------------------------------------------------- JSON
    def _array(self) -> Iterator[Item]:
        scanner = _ArrayScanner(self._text())
        try:
            for line, value in scanner:
                yield self._read(line, value)
        except (DataError, UnicodeDecodeError) as exc:
            error = ValidationError(f"the array cannot be read behind it: {exc}")
            yield Item(scanner.line, None, error)

    def _text(self) -> IO[str]:
        counted = _Counted(self._file, self)
        return io.TextIOWrapper(
            io.BufferedReader(counted, _READ), encoding="utf-8-sig", newline=""
        )

    def count(self, length: int) -> None:
        """Take note of what has been read."""
        self._position += length

    # -------------------------------------------------------------- Parquet
    def _rows(self) -> Iterator[Item]:
        if not self._file.seekable():
            raise UsageError("a Parquet file is read from its end: it must be a file")
        size = os.fstat(self._file.fileno()).st_size
        number = 0
        try:
            for share, rows in read_rows(self._file, self._definition):
                self._position = int(share * size)
                for row in rows:
                    number += 1
                    if isinstance(row, DataError):
                        yield Item(number, None, row)
                    else:
                        yield Item(number, row, None)
        except DataError as exc:
            yield Item(number + 1, None, exc)

    # -------------------------------------------------------------- tables
    def _table(self) -> Iterator[Item]:
        if csv.field_size_limit() < _LONGEST:
            csv.field_size_limit(_LONGEST)
        reader = csv.reader(self._text(), strict=True)
        header: list[str] | None = None
        try:
            for row in reader:
                if header is None:
                    header = _checked_header(row)
                elif row:
                    yield self._row(reader.line_num, header, row)
        except DataError as exc:
            yield Item(reader.line_num, None, exc)
        except (csv.Error, UnicodeDecodeError) as exc:
            line = reader.line_num
            error = ValidationError(f"the table cannot be read behind it: {exc}")
            yield Item(line, None, error)

    def _row(self, line: int, header: list[str], row: list[str]) -> Item:
        if len(row) != len(header):
            text = f"{len(row)} cells, where the first line has {len(header)}"
            return Item(line, None, ValidationError(text))
        fields: dict[str, object] = {}
        try:
            for name, text in zip(header, row, strict=True):
                if not text:
                    continue
                declared = self._types.get(name)
                kind = None if declared is None else declared.field_type
                fields[name] = text if name == "id" else from_cell(text, kind, name)
        except DataError as exc:
            return Item(line, None, exc)
        return Item(line, fields, None)


class _Counted(io.RawIOBase):
    """Passes bytes on and tells how many."""

    def __init__(self, file: BinaryIO, source: Source) -> None:
        self._file = file
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]  # what readinto is given
        data = self._file.read(len(view))
        view[: len(data)] = data
        self._source.count(len(data))
        return len(data)


class _ArrayScanner:
    """The elements of a JSON array, decoded one by one from a growing window.

    Attributes:
        line: Where it is.
    """

    def __init__(self, text: IO[str]) -> None:
        self._stream = text
        self._window = ""
        self._at = 0
        self.line = 1
        self._decoder = json.JSONDecoder(parse_constant=_refuse_constant)

    def __iter__(self) -> Iterator[tuple[int, object]]:
        self._expect("[")
        if self._peek() == "]":
            return
        while True:
            self._peek()
            yield self.line, self._element()
            if self._peek() == "]":
                return
            self._expect(",")

    def _peek(self) -> str:
        """The next character that is not white space."""
        while True:
            while self._at < len(self._window):
                character = self._window[self._at]
                if character not in " \t\r\n":
                    return character
                self.line += character == "\n"
                self._at += 1
            if not self._more():
                raise ValidationError("the array does not end")

    def _expect(self, wanted: str) -> None:
        found = self._peek()
        if found != wanted:
            raise ValidationError(
                f"{found!r} where {wanted!r} is due; a JSON file is one array of objects"
            )
        self._at += 1

    def _more(self) -> bool:
        text = self._stream.read(max(_READ, len(self._window)))
        self._window = self._window[self._at :] + text
        self._at = 0
        if len(self._window) > _LONGEST:
            raise _too_long(self.line)
        return bool(text)

    def _element(self) -> object:
        while True:
            try:
                value, end = self._decoder.raw_decode(self._window, self._at)
            except json.JSONDecodeError as exc:
                if not self._more():
                    raise ValidationError(f"no JSON: {exc.msg}") from exc
                continue
            # A number at the very end may go on behind it.
            if end == len(self._window) and self._more():
                continue
            self.line += self._window.count("\n", self._at, end)
            self._at = end
            return value


def _refuse_constant(text: str) -> object:
    raise ValidationError(f"{text} is no JSON")


def _checked_header(row: list[str]) -> list[str]:
    if len(set(row)) != len(row) or not all(row):
        raise ValidationError(
            "the first line must name the columns, each differently", line=1
        )
    return row


def _no_object(value: object) -> ValidationError:
    return ValidationError(f"a document is an object, not {type(value).__name__}")


def _too_long(line: int) -> LimitExceededError:
    return LimitExceededError(
        f"a document of more than {_LONGEST >> 20} MiB", line=line
    )
