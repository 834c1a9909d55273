"""What the command lines share: mistakes in one line, and types of numbers."""

import argparse
from collections.abc import Sequence

from src.utils.errors import UserError


class OneLineParser(argparse.ArgumentParser):
    """A parser whose complaints are `UserError`s, where argparse prints its usage."""

    def error(self, message: str) -> None:
        raise UserError(f"{message} (see {self.prog} --help)")


class IntermixedParser(OneLineParser):
    """A parser that takes options before, between and behind positional arguments, such as KEY VALUE pairs."""

    def parse_args(
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Parse a command line."""
        return self.parse_intermixed_args(args, namespace)


def whole(text: str, minimum: int = 0) -> int:
    """Parse a whole number of at least `minimum`; a type for `add_argument`."""
    if not text.isdecimal() or int(text) < minimum:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a whole number of at least {minimum}")
    return int(text)


def positive(text: str) -> int:
    """Parse a whole number of at least 1; a type for `add_argument`."""
    return whole(text, minimum=1)
