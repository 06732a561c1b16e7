"""How a text file is laid out: its encoding, what stands above the rows, the separator, the names
and the decimal mark."""

import codecs
import contextlib
import csv
import dataclasses
import io
import re
from collections.abc import Iterator, Sequence
from typing import IO

from flow_models.core.errors import UserError, warn
from flow_models.data.tables import numerals

_HEAD, _PIECE, _PIECES = 1_000_000, 50_000, 20  # bytes that tell the kind of a text
_ROWS = 1000  # of the head that tell the separator and the header
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_SEPARATORS = ";\t|,"
_CHANCE = 0.01  # that whole numbers stand in a first row by themselves
codecs.register_error(
    "latin-1",
    lambda e: (e.object[e.start : e.end].decode("latin-1"), e.end),  # type: ignore
)


@dataclasses.dataclass(frozen=True)
class Layout:
    """Of a text file.

    Attributes:
      separator: None for blanks.
      skipped: lines above the rows; a name may hold line ends.
      names: of the columns, empty for one without; None where there is no header.
      width: number of columns.
      decimals: the decimal mark of each column.
    """

    encoding: str
    separator: str | None
    skipped: int
    names: list[str] | None
    width: int
    decimals: list[str]


@contextlib.contextmanager
def opened(file: IO[bytes], encoding: str) -> Iterator[io.TextIOWrapper]:
    """The text from its start; every kind of line end is \\n, bytes that are no UTF-8 are
    Latin-1."""
    file.seek(0)
    text = io.TextIOWrapper(file, encoding, errors="latin-1", newline=None)
    try:
        yield text
    finally:
        text.detach()  # or it closes the file


def of(file: IO[bytes], source: str, wanted: Sequence[str] | None) -> Layout:
    """The layout of a file, by its first megabyte and pieces of the rest.

    Raises:
      UserError: binary data, or no rows.
    """
    encoding, lines, whole = _head(file, source)
    above, separator = _above(lines, source)
    if separator is None:
        separator = _separator(lines[above:][:_ROWS])
    rows = _parsed(lines[above:][: _ROWS + 1], separator)
    comment = lines[above - 1].strip() if above else ""
    told = _fields(comment.lstrip("# \t"), separator) if comment.startswith("#") else []
    in_rows = len(told) != len(rows[0]) and _is_header(rows[0], rows[1:], wanted, source)
    names = rows[0] if in_rows else told if len(told) == len(rows[0]) else None
    pieces = [] if whole else _pieces(file, encoding)
    cells = _parsed([*lines[above:][: 20 * _ROWS], *pieces], separator)[in_rows:]
    columns = [[row[i] for row in cells if len(row) == len(rows[0])] for i in range(len(rows[0]))]
    decimals = numerals.decimal_marks(columns, source)
    return Layout(encoding, separator, above + in_rows, names, len(rows[0]), decimals)


def _head(file: IO[bytes], source: str) -> tuple[str, list[str], bool]:
    """Encoding, the first lines, and whether they are all."""
    file.seek(0)
    data = file.read(_HEAD + 1)
    whole = len(data) <= _HEAD
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    text = codecs.getincrementaldecoder(encoding)("latin-1").decode(data[:_HEAD], whole)
    if _CONTROL.search(text):
        raise UserError(f"{source}: not a table of text, whatever its name: it holds binary data")
    lines = re.split(r"\r\n|\r|\n", text)
    return encoding, lines if whole else lines[:-1] or lines, whole


def _pieces(file: IO[bytes], encoding: str) -> list[str]:
    """Whole lines from all over a long file."""
    if encoding != "utf-8-sig":
        return []
    end, lines = file.seek(0, io.SEEK_END), []
    for piece in range(1, _PIECES + 1):
        file.seek(_HEAD + (end - _HEAD) * piece // (_PIECES + 1))
        text = file.read(_PIECE).decode("utf-8", errors="latin-1")
        lines += re.split(r"\r\n|\r|\n", text)[1:-1]
    return lines


def _above(lines: list[str], source: str) -> tuple[int, str | None]:
    """Lines of comments and blanks above the first row, and the separator of a line sep=;"""
    separator = None
    for number, line in enumerate(lines):
        told = re.fullmatch(r'"?sep=(.)"?[;,\t]*', line.strip("\r\n "), re.IGNORECASE)
        if told and not number:
            separator = told[1]
        elif line.strip() and not line.lstrip().startswith("#"):
            return number, separator
    what = "has no rows" if any(line.strip() for line in lines) else "is empty"
    raise UserError(f"{source}: the file {what}")


def _separator(lines: Sequence[str]) -> str | None:
    """The mark, outside quotes, that splits the first line and most others into equally many
    fields; None for blanks."""
    lines = [line for line in _QUOTED.sub("", "\n".join(lines)).split("\n") if line.strip()]
    if not lines:
        return None

    def equal(mark: str) -> float:
        return sum(line.count(mark) == lines[0].count(mark) for line in lines) / len(lines)

    marks = [mark for mark in _SEPARATORS if mark in lines[0]]
    return max(marks, key=lambda mark: (equal(mark) > 0.9, equal(mark)), default=None)


def _parsed(lines: Sequence[str], separator: str | None) -> list[list[str]]:
    """Fields of the lines, those in quotes over several lines too, blank lines left out."""
    if separator is None:
        return [_fields(line, None) for line in lines if line.strip()]
    reader = csv.reader((line + "\n" for line in lines), delimiter=separator, skipinitialspace=True)
    return [[field.strip() for field in row] for row in reader if row]


def _fields(line: str, separator: str | None) -> list[str]:
    if separator is None and '"' not in line:
        return line.split()
    text = re.sub(r"\s+", " ", line.strip()) if separator is None else line
    reader = csv.reader([text], delimiter=separator or " ", skipinitialspace=True)
    return [field.strip() for field in next(reader, [])]


def _is_header(
    first: list[str], rows: list[list[str]], wanted: Sequence[str] | None, source: str
) -> bool:
    """Whether a first line is names. One name over a column of numbers makes it so, numbers do
    where they cannot be a row of the others."""
    if wanted and set(wanted) & set(first):
        return True
    rows = [row for row in rows if len(row) == len(first)]
    columns = [[row[i] for row in rows] for i in range(len(first))]
    words = [i for i, field in enumerate(first) if field and not numerals.is_number(field)]
    if not words:
        return _is_numeric_header(first, columns, source)
    if len(words) == len(first) or any(_is_numeric(columns[i]) for i in words):
        return True
    if all(_is_alike(first[i], columns[i]) for i in words):
        return False
    numbers = [field for i, field in enumerate(first) if i not in words and field]
    if numbers:
        warn(f"{source}: the first line, with {numbers[0]!r}, is taken as the names of the columns")
    return True


def _is_numeric_header(first: list[str], columns: list[list[str]], source: str) -> bool:
    """Whether whole numbers are names: an index column without name stands before them, or the
    rows below hold no such numbers."""
    named = [(field, cells) for field, cells in zip(first, columns) if field]
    if not named or not columns[0] or not all(numerals.is_whole(field) for field, _ in named):
        return False
    chance = 1.0
    for field, cells in named:
        whole = [cell for cell in cells if numerals.is_whole(cell)]
        inside = whole and min(map(int, whole)) <= int(field) <= max(map(int, whole))
        chance *= (len(whole) if inside else 0) / len(cells) + 1 / (len(cells) + 1)
    counting = [int(field) for field, _ in named]
    steps = counting == list(range(counting[0], counting[0] + len(counting))) and len(counting) > 1
    if chance < _CHANCE or not first[0]:
        warn(f"{source}: the first line ({', '.join(first)}) is taken as the names of the columns")
        return True
    if steps:
        warn(
            f"{source}: the first line ({', '.join(first)}) is taken as a row of data; name the"
            " columns in words if it is their names"
        )
    return False


def _is_numeric(cells: list[str]) -> bool:
    return bool(cells) and sum(map(numerals.is_number, cells)) > 0.5 * len(cells)


def _is_alike(field: str, cells: list[str]) -> bool:
    """Whether text looks like the text below it: it is there again, or digits stand in the same
    places."""
    if field in cells:
        return True
    shape = _shape(field)
    alike = sum(_shape(cell) == shape for cell in cells)
    return "0" in shape and alike > 0.5 * len(cells)


def _shape(field: str) -> str:
    return re.sub(r"\d+", "0", re.sub(r"[^\W\d_]+", "a", field))
