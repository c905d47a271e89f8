"""The dashboards, in the order in which people meet them."""

from typing import Final

from generate.dashboard import Dashboard
from generate.language_dashboard import LANGUAGE
from generate.learner_dashboard import LEARNER
from generate.nodes_dashboard import NODES_BOARD
from generate.overview_dashboard import OVERVIEW
from generate.worker_dashboard import ONE_WORKER

DASHBOARDS: Final[tuple[Dashboard, ...]] = (OVERVIEW, ONE_WORKER, LEARNER, LANGUAGE, NODES_BOARD)
