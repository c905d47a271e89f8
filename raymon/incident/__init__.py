"""Evidence when a run is in trouble: incidents, recordings, post-mortem, and the watch that collects them."""

from typing import Final

FOLDER: Final = "recording"
"""Where the recording of a run is, below the run's directory."""
