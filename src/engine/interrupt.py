"""SIGTERM, by which schedulers ask a job to end."""

import os
import signal

# What shells and schedulers take as "ended by SIGTERM".
STATUS = 128 + signal.SIGTERM


class StopRequest:
    """Remembers SIGTERM instead of dying of it; a second one ends the process at once.

    Processes that are forked off later die of SIGTERM as ever.
    """

    def __init__(self) -> None:
        self.requested = False
        self._process = os.getpid()
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        if os.getpid() != self._process:
            os.kill(os.getpid(), number)
        self.requested = True
