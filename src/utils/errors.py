"""How a program ends: a user's mistake is one line on standard error and exit status 2."""

import os
import select
import sys
from collections.abc import Callable

# What a shell reports of a program that wrote to a closed pipe, and of one that was interrupted: 128 + the signal.
_CLOSED_PIPE, _INTERRUPTED = 141, 130


class UserError(Exception):
    """A mistake that the user can mend. The message is one line: what (file, row), and what was expected."""


def run_main(main: Callable[[], int]) -> int:
    """Run an entry point and return its exit status; a `UserError` becomes one line and status 2.

    A terminal that lacks a letter shows it as an escape, and a reader that closes the pipe (`| head`) ends the program
    without a word, Ctrl-C with one. Names of files are UTF-8, whatever the locale is. Any other exception passes
    through: a traceback is for bugs.
    """
    if sys.getfilesystemencoding() != "utf-8":
        _start_again_in_utf8_mode()
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, as by `>&-`
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115 - a device, for as long as the program runs
        if hasattr(getattr(sys, name), "reconfigure"):
            getattr(sys, name).reconfigure(errors="backslashreplace")
    try:
        status = main()
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return _INTERRUPTED
    except (UserError, BrokenPipeError) as error:
        # Some take a closed pipe for a file that cannot be written.
        is_broken = isinstance(error, BrokenPipeError) or isinstance(error.__cause__, BrokenPipeError)
        is_closed = is_broken and _lost_its_reader(sys.stdout.fileno())
        if isinstance(error, UserError) and not is_closed:
            print(f"error: {_in_one_line(str(error))}", file=sys.stderr)
            return 2
        if not is_closed:
            raise  # another pipe than that of standard output
        # What is left to write goes nowhere.
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - a device
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        return _CLOSED_PIPE


def _start_again_in_utf8_mode() -> None:
    """Replace this process by one that takes names of files for UTF-8; it prints in the encoding of the locale."""
    os.environ.setdefault("PYTHONIOENCODING", sys.stdout.encoding)
    os.environ["PYTHONUTF8"] = "1"
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _in_one_line(message: str) -> str:
    """Escape what is not printed as itself: names in a damaged or hostile file may hold line ends and worse."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in message)


def _lost_its_reader(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))
