"""What the command lines share: mistakes in one line, and types of numbers."""

import argparse

from src.utils.errors import UserError


class OneLineParser(argparse.ArgumentParser):
    """A parser whose complaints are `UserError`s, where argparse prints its usage."""

    def error(self, message: str) -> None:
        raise UserError(f"{message} (see {self.prog} --help)")


def whole(text: str, minimum: int = 0) -> int:
    """Parse a whole number of at least `minimum`; a type for `add_argument`."""
    if not text.isdecimal() or int(text) < minimum:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a whole number of at least {minimum}")
    return int(text)


def positive(text: str) -> int:
    """Parse a whole number of at least 1; a type for `add_argument`."""
    return whole(text, minimum=1)
