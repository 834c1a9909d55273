"""How a program ends: a user's mistake is one line on standard error and exit status 2."""

import errno
import io
import os
import sys
from collections.abc import Callable
from typing import TextIO

# What a shell reports of a program that was interrupted: 128 + the signal.
_INTERRUPTED = 130
# Of a closed pipe, and of a terminal that was closed.
_UNREAD = (errno.EPIPE, errno.EIO)


class UserError(Exception):
    """A mistake that the user can mend. The message is one line: what (file, row), and what was expected."""


def run_main(main: Callable[[], int]) -> int:
    """Run an entry point and return its exit status; a `UserError` becomes one line and status 2.

    A terminal that lacks a letter shows it as an escape. Where nobody reads any more what is printed (`| head`, a
    terminal that was closed), printing stops, and the program goes on, because its files are worth as much; so it does
    where a full disk takes no more, but says so at the end. Ctrl-C ends it with one word. Names of files are UTF-8,
    whatever the locale is. Any other exception passes through: a traceback is for bugs.
    """
    if sys.getfilesystemencoding() != "utf-8":
        _start_again_in_utf8_mode()
    outputs = []
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed, as by `>&-`
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115 - a device, for as long as the program runs
        elif isinstance(getattr(stream, "buffer", None), io.BufferedWriter | io.FileIO):  # what Python opened
            outputs.append(_Output(stream.fileno(), "w", closefd=False))
            setattr(sys, name, _over(outputs[-1], stream))
    try:
        status = main()
        sys.stdout.flush()
        for error in filter(None, (output.failure for output in outputs)):
            print(f"error: what was printed is cut short: {error.strerror}", file=sys.stderr)
            status = status or 2
        return status
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return _INTERRUPTED
    except UserError as error:
        print(f"error: {_in_one_line(str(error))}", file=sys.stderr)
        return 2


class _Output(io.FileIO):
    """Standard output or error; once it takes no more, what is written goes nowhere.

    Attributes:
        failure: why it takes no more; None: it does, or nobody reads it.
    """

    failure: OSError | None = None

    def write(self, data: bytes) -> int | None:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in _UNREAD:
                self.failure = error
            with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - a device
                os.dup2(nowhere.fileno(), self.fileno())
            return super().write(data)


def _over(output: _Output, stream: io.TextIOWrapper) -> TextIO:
    """Return what writes text to an output as a stream does; what the encoding lacks, as an escape."""
    stream.flush()
    return io.TextIOWrapper(
        output if stream.write_through else io.BufferedWriter(output),
        stream.encoding,
        "backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _start_again_in_utf8_mode() -> None:
    """Replace this process by one that takes names of files for UTF-8; it prints in the encoding of the locale."""
    os.environ.setdefault("PYTHONIOENCODING", sys.stdout.encoding)
    os.environ["PYTHONUTF8"] = "1"
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _in_one_line(message: str) -> str:
    """Escape what is not printed as itself: names in a damaged or hostile file may hold line ends and worse."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in message)
