"""Numbers as text: which mark is the decimal one, which groups thousands, and what is no number."""

import contextlib
from collections.abc import Sequence

from flow_models.core.errors import UserError, warn

MISSING = ("", "nan", "-nan", "na", "n/a", "#n/a", "#n/a n/a", "#na", "<na>", "null", "none")
_NUMBER = r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$|^[+-]?(?i:inf|infinity)$"
_WHOLE = r"^[+-]?\d+$"
CODE = r"^0\d+$"  # 007, which is no number: 7 is another code
_SPACED = r"^[+-]?\d+(?:[_' \x{a0}\x{202f}]\d+)+(?:[.,]\d*)?$"  # 1_000, 1 000, 1'000
MINUS = "\u2212"  # of typography, which stands for -
_FEWEST = 3  # cells such as 1.234 that make a column ambiguous
_BARE = 0.05  # share of the cells beside them that have no mark


def is_number(field: str) -> bool:
    """Whether a field is a number, with a decimal point or comma, or the word for a missing one."""
    return field.lower() in MISSING[1:] or bool(_matches([field.replace(",", ".")], _NUMBER)[0])


def is_whole(field: str) -> bool:
    """Whether a field is a whole number, written without a mark."""
    return bool(_matches([field], _WHOLE)[0])


def decimal_mark(columns: Sequence[Sequence[str]], source: str) -> str:
    """The decimal mark, "." or ",", of the cells of a file, by column.

    A mark that stands where thousands cannot end is decimal (5,5 or 0.123), and so is the second of
    two (1.234,5). Columns that are no numbers do not vote. Where only cells such as 1,234 are
    there, the comma is taken as decimal, with a warning.
    """
    votes, groups = {".": 0, ",": 0}, ""
    for cells in filter(_is_numeric, columns):
        for mark, other in (".,", ",."):
            votes[mark] += sum(_matches(cells, _decimal(mark, other)))
            votes[mark] += sum(_matches(cells, _grouped(other, "", 2)))
        groups = groups or next((c for c in cells if _matches([c], _grouped(",", ""))[0]), "")
    if any(votes.values()):
        return max(".,", key=lambda mark: votes[mark])
    if groups:
        warn(
            f"{source}: the comma of {groups!r} is taken as the decimal mark; write the numbers"
            " without commas if it groups thousands"
        )
    return "," if groups else "."


def decimal_marks(columns: Sequence[Sequence[str]], source: str) -> list[str]:
    """The decimal mark of each column: that of the file (`decimal_mark`), but for columns in which
    it groups thousands for sure, as the points of 1.063.000 do."""
    mark = decimal_mark(columns, source)
    other = "," if mark == "." else "."
    return [other if _is_grouped(cells, mark, other) else mark for cells in columns]


def _is_grouped(cells: Sequence[str], mark: str, other: str) -> bool:
    groups = any(_matches(cells, _grouped(mark, "", 2)))
    return groups and _is_numeric(cells) and not any(_matches(cells, _decimal(mark, other)))


def convert(column, decimal: str, where: str, first: int, strict: bool = True):
    """A pandas column of text as numbers where all cells are, flags where all are True or False,
    else as text, in which only empty cells are missing. Digits of which some begin with a zero, as
    007 does, are codes and stay text.

    Args:
      decimal: the decimal mark; the other one may group thousands.
      where: the column, for messages.
      first: number of the first row in the file.
      strict: False for a column of objects, numbers and texts, where most cells are numbers; codes
        are numbers then.

    Raises:
      UserError: digits in groups that can be read in two ways, or not at all; it names the row.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    cells = pc.utf8_trim_whitespace(pa.array(column, pa.string()))
    cells = pc.replace_substring_regex(cells, rf"^{MINUS}(\.?\d)", r"-\1")
    blank = pc.is_in(pc.utf8_lower(cells), pa.array(MISSING))
    known = pc.if_else(blank, None, cells)
    is_code = strict and _are_codes(known)
    numbers = None if is_code else _numbers(known, decimal, where, first)
    if numbers is not None:
        return numbers
    text = pc.if_else(pc.equal(cells, ""), None, cells)
    if strict:
        _refuse_spaced(text, decimal, where, first)
    elif (mixed := _mixed(known, decimal, where, first)) is not None:
        return mixed
    flags = pc.is_in(pc.utf8_lower(cells), pa.array(["true", "false"]))
    if pc.all(flags).as_py():
        return pc.equal(pc.utf8_lower(cells), "true").to_pandas()
    return text.to_pandas()


def _are_codes(cells) -> bool:
    """Whether Arrow text is digits alone, some with a zero in front."""
    import pyarrow.compute as pc

    if not pc.any(pc.match_substring_regex(cells, CODE)).as_py():
        return False
    return bool(pc.all(pc.match_substring_regex(cells, r"^\d+$")).as_py())


def _numbers(cells, decimal: str, where: str, first: int):
    """Arrow text as int64 or float64, or None where a cell is no number."""
    import pyarrow as pa
    import pyarrow.compute as pc

    other = "," if decimal == "." else "."
    _refuse_ambiguous(cells, decimal, where, first)
    marked = pc.match_substring(cells, other)
    if pc.any(marked).as_py():
        grouped = pc.match_substring_regex(cells, _grouped(other, rf"(?:\{decimal}\d*)?"))
        if not pc.all(pc.or_(pc.invert(marked), grouped)).as_py():
            return None
        cells = pc.replace_substring(cells, other, "")
    if decimal == ",":
        cells = pc.replace_substring(cells, ",", ".")
    if not pc.all(pc.match_substring_regex(cells, _NUMBER), min_count=0).as_py():
        return None
    cells = pc.replace_substring_regex(cells, r"^\+", "")
    if not cells.null_count and pc.all(pc.match_substring_regex(cells, r"^-?\d{1,19}$")).as_py():
        with contextlib.suppress(pa.ArrowInvalid):  # beyond 64 bits
            return cells.cast(pa.int64()).to_pandas()
    return cells.cast(pa.float64()).to_pandas()


def _mixed(cells, decimal: str, where: str, first: int):
    """Numbers, and text where a cell is none; None where few cells are numbers."""
    import pyarrow.compute as pc

    other = "," if decimal == "." else "."
    valid = _NUMBER.replace(r"\.", rf"\{decimal}")
    grouped = _grouped(other, rf"(?:\{decimal}\d*)?")
    good = pc.match_substring_regex(cells, f"{valid}|{grouped}")
    if 2 * (pc.sum(good).as_py() or 0) < len(cells) - cells.null_count:
        return None
    numbers = _numbers(pc.if_else(good, cells, None), decimal, where, first)
    bad = pc.fill_null(pc.invert(good), False).to_pandas()
    return numbers.astype(object).mask(bad, cells.to_pandas())


def _refuse_ambiguous(cells, decimal: str, where: str, first: int) -> None:
    """Refuses 1.234 among numbers such as 800: decimals would have other lengths, too."""
    import pyarrow.compute as pc

    for part in (cells[:1000], cells):  # most columns are told by their head
        marked = pc.fill_null(pc.match_substring(part, decimal), False)
        three = pc.fill_null(pc.match_substring_regex(part, _grouped(decimal, "")), False)
        if pc.any(pc.and_not(marked, three)).as_py():
            return
    bare = pc.sum(pc.match_substring_regex(cells, r"^[+-]?\d{1,3}$")).as_py() or 0
    if (pc.sum(three).as_py() or 0) >= _FEWEST and bare >= max(_BARE * len(cells), 1):
        row = pc.index(three, True).as_py()
        cell = cells[row].as_py()
        raise UserError(
            f"{where}, row {first + row}: {cell!r} may be {cell.replace(decimal, '')} or"
            f" {cell.replace(decimal, '.')}, beside numbers without a mark; write thousands"
            " without marks, or all decimals"
        )


def _refuse_spaced(cells, decimal: str, where: str, first: int) -> None:
    """Refuses text that is numbers but for marks that are not understood, such as 1_000."""
    import pyarrow.compute as pc

    known = pc.drop_null(cells)
    plain = pc.match_substring_regex(known, _NUMBER if decimal == "." else r"^[+-]?[\d.]*,?\d*$")
    spaced = pc.match_substring_regex(known, _SPACED)
    mixed = pc.match_substring_regex(known, r"^[+-]?\d[\d.,]*$")
    odd = pc.or_(spaced, pc.and_not(mixed, plain))
    count = pc.sum(odd).as_py() or 0
    grouped = pc.match_substring_regex(known, _grouped(decimal, "", 2))
    numeric = sum(pc.sum(each).as_py() or 0 for each in (plain, spaced, grouped))
    if count and numeric + count >= len(known) and 2 * numeric >= len(known):
        cell = known[pc.index(odd, True).as_py()].as_py()
        row = pc.index(cells, cell).as_py()
        raise UserError(
            f"{where}, row {first + row}: a number is expected, not {cell[:40]!r}; write digits"
            " without marks between them"
        )


def _is_numeric(cells: Sequence[str]) -> bool:
    """Whether nearly all cells could be numbers of some notation."""
    known = [cell for cell in cells if cell.lower() not in MISSING]
    like = _matches(known, r"^[+-]?[\d.,]*\d[\d.,]*(?:[eE][+-]?\d+)?$")
    return bool(known) and sum(like) >= 0.9 * len(known)


def _decimal(mark: str, other: str) -> str:
    """Cells whose `mark` is decimal for sure."""
    tail = r"(?:[eE][+-]?\d+)?$"
    short = rf"\d*\{mark}(?:\d{{0,2}}|\d{{4,}}){tail}"  # not three digits behind it
    long = rf"(?:0\d*|\d{{4,}}|)\{mark}\d+{tail}"  # no digit from 1 on before it, or too many
    power = rf"\d*\{mark}\d*[eE][+-]?\d+$"
    both = rf"\d{{1,3}}(?:\{other}\d{{3}})+\{mark}\d*{tail}"
    return rf"^[+-]?(?:{short}|{long}|{power}|{both})"


def _grouped(mark: str, tail: str, least: int = 1) -> str:
    """Cells with so many groups of three digits behind the first, or more."""
    return rf"^[+-]?[1-9]\d{{0,2}}(?:\{mark}\d{{3}}){{{least},}}{tail}$"


def _matches(cells: Sequence[str], pattern: str) -> list[bool]:
    import pyarrow as pa
    import pyarrow.compute as pc

    plain = [cell.replace(MINUS, "-") for cell in cells]
    return pc.match_substring_regex(pa.array(plain, pa.string()), pattern).to_pylist()
