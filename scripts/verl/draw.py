"""Print the status page of the last moment of a recording, as HTML: what `raymon status` draws, without its server."""

import sys
from pathlib import Path

from raymon.incident.replay import Replay
from raymon.page import layout
from raymon.page.choice import Choice

replay = Replay(Path(sys.argv[1]))
print(layout.page(replay.at(replay.last()), Choice()))
