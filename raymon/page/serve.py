"""The child process of `raymon status`: Streamlit's server, which never outlives the process that started it.

python -m raymon.page.serve PID-OF-THE-PARENT run PAGE …
"""

import os
import sys
import threading
import time
from typing import Final

from streamlit.web import cli

LOOK_SECONDS: Final = 0.5
_BEHIND: Final = "--"
"""What follows it on the command line is for the page."""


def end_with(parent: int) -> None:
    """End this process as soon as it is no longer a child of `parent`, which may have been killed without a word."""
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os._exit(0)


def collect(arguments: tuple[str, ...]) -> None:
    """Begin collecting before anybody looks."""
    from raymon.page.shared import collector  # takes longer to load than the server should be kept waiting

    collector(arguments)


if __name__ == "__main__":
    threading.Thread(target=end_with, args=(int(sys.argv[1]),), name="raymon-parent", daemon=True).start()
    given = tuple(sys.argv[sys.argv.index(_BEHIND) + 1 :])
    threading.Thread(target=collect, args=(given,), name="raymon-collect", daemon=True).start()
    sys.argv = ["streamlit", *sys.argv[2:]]
    cli.main(prog_name="streamlit")
