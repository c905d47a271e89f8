"""Ctrl-C, SIGTERM and a closed terminal: a request to stop during training, an interruption before and after."""

import signal
from types import FrameType


class Stop:
    """A user's request to stop.

    While `patient` is set, the first request is only recorded, so that the loop can end in order; a second one, or any
    while it is not set, raises `KeyboardInterrupt`.
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
        """Return whether a signal has arrived."""
        return self.signal is not None

    def exit_code(self) -> int:
        """Return the exit code that a shell expects of a process ended by a signal."""
        return 128 + (self.signal or signal.SIGINT)

    def cause(self) -> str:
        """Return what asked to stop, for a sentence."""
        names = {signal.SIGINT: "Ctrl-C", signal.SIGHUP: "the end of the terminal"}
        number = signal.Signals(self.signal or signal.SIGINT)
        return names.get(number, number.name)

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # what signal hands over
        first = self.signal is None
        self.signal = number
        if not (self.patient and first):
            raise KeyboardInterrupt
