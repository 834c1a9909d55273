"""Opening of AVA's text files: UTF-8, a byte order mark is skipped, and what cannot be read is told in one line."""

import codecs
import csv
from collections.abc import Iterator
from pathlib import Path

from src.utils.errors import UserError

# What no file holds: bytes that are not UTF-8 become lone surrogates from U+DC80 on.
_NUL = "\udc00"
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def check_text_file(path: Path, what: str) -> None:
    """Raise where a file cannot be read as UTF-8 text at all.

    Args:
        path: the file.
        what: what it should be, as "CSV file".

    Raises:
        UserError: it is absent, a directory, not readable, or UTF-16.
    """
    if path.is_dir():
        raise UserError(f"{path}: is a directory, expected a {what}")
    try:
        with path.open("rb") as file:
            head = file.read(2)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file, expected a {what}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot read the {what}: {getattr(error, 'strerror', None) or error}") from error
    if head in _UTF16_MARKS:
        raise UserError(f"{path}: is UTF-16 text, expected UTF-8 (in spreadsheets: save as CSV UTF-8)")


def read_text(path: Path, what: str) -> str:
    """Return the text of a small file; arguments and errors are those of `check_text_file`.

    Raises:
        UserError: also for bytes that are not UTF-8.
    """
    check_text_file(path, what)
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot read the {what}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: cannot read the {what}: not UTF-8 text (byte {error.start + 1})") from error


def csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield line number (from 1) and fields of the rows that are not blank.

    Bytes that are not UTF-8 become lone surrogates: where they matter can be told by the row.

    Raises:
        UserError: it cannot be read, or is not CSV.
    """
    check_text_file(path, "CSV file")
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        # Python 3.10 refuses a file with NUL as a whole; later ones leave it to whoever reads the row.
        reader = csv.reader(line.replace("\0", _NUL) for line in file)
        try:
            for cells in reader:
                if cells:
                    yield reader.line_num, [cell.replace(_NUL, "\0") for cell in cells]
        except csv.Error as error:
            raise UserError(f"{path}: row {reader.line_num}: not CSV: {error}") from error
