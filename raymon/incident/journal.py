"""What a watch writes down: the recording of the scrapes and, next to it, the log of deaths."""

import logging
import threading
from pathlib import Path

from raymon.cluster.cluster_state import ClusterState
from raymon.incident import FOLDER
from raymon.incident.deaths import Death, DeathLog
from raymon.incident.recording_format import RecordingError
from raymon.incident.recording_writer import RecordingWriter
from raymon.incident.store import folder_name
from raymon.live.round import Round
from raymon.live.snapshot import Snapshot

_log = logging.getLogger(__name__)


class Journal:
    """Records into a directory, by default `ROOT/RUN/recording` once the run is known.

    If another process records there already, only the deaths are logged.

    Args:
        directory: Where to record; None for the default.
        root: Directory of the runs.
        run: The run, if it is known from the start.
    """

    def __init__(self, directory: Path | None, root: Path, run: str = "") -> None:
        self._root = root
        self._recorder: RecordingWriter | None = None
        self._deaths: DeathLog | None = None
        self._lock = threading.Lock()
        if directory is not None or run:
            self._open(directory or root / folder_name(run) / FOLDER)

    def seen(self, snapshot: Snapshot) -> None:
        """Start recording when the first run is seen."""
        if self._deaths is None and snapshot.runs:
            self._open(self._root / folder_name(snapshot.runs[0].run) / FOLDER)

    def add(self, taken: Round) -> None:
        """Record one round of scrapes; never raises."""
        if self._recorder is not None:
            self._recorder.add(taken)

    def deaths(self, state: ClusterState) -> None:
        """Log what is new in an answer of the control store."""
        with self._lock:
            if self._deaths is not None:
                self._deaths.update(state)

    def death(self, death: Death) -> None:
        """Log the end of a process on this machine."""
        with self._lock:
            if self._deaths is not None:
                self._deaths.add(death)

    def close(self) -> None:
        """End the recording."""
        if self._recorder is not None:
            self._recorder.close()

    def _open(self, directory: Path) -> None:
        with self._lock:
            self._deaths = DeathLog(directory)
        try:
            self._recorder = RecordingWriter(directory)
        except RecordingError as error:
            _log.warning("not recording: %s", error)
