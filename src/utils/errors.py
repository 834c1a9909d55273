"""How a user's mistake ends: one line on standard error and exit status 2."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """A mistake that the user can mend. The message is one line: what (file, row), and what was expected."""


def run_main(main: Callable[[], int]) -> int:
    """Run an entry point and return its exit status; a `UserError` becomes one line and status 2.

    Any other exception passes through: a traceback is for bugs.
    """
    try:
        return main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
