"""Ctrl-C, SIGTERM and the end of the terminal: a request to stop while training, an interruption before and after."""

import signal
from types import FrameType


class Stop:
    """Remembers that somebody asked to stop.

    While `patient` is set the request is only noted, for the loop to end in order; a second one, or any while it is not
    set, raises `KeyboardInterrupt`.
    """

    def __init__(self) -> None:
        self.patient = False
        self.signal: int | None = None

    def install(self) -> None:
        """Take over SIGINT, SIGTERM and, unless it is ignored as under nohup, SIGHUP in this process."""
        signal.signal(signal.SIGINT, self._handle)
        signal.signal(signal.SIGTERM, self._handle)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._handle)

    def requested(self) -> bool:
        """Tell whether a signal has come."""
        return self.signal is not None

    def exit_code(self) -> int:
        """Return what a shell expects of a process that a signal ended."""
        return 128 + (self.signal or signal.SIGINT)

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # what signal hands over
        first = self.signal is None
        self.signal = number
        if not (self.patient and first):
            raise KeyboardInterrupt
