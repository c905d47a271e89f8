"""The dashboards, in the order in which people meet them."""

from typing import Final

from raymon.artifacts.dashboard import Dashboard
from raymon.artifacts.learner_board import LEARNER
from raymon.artifacts.nodes_board import NODES_BOARD
from raymon.artifacts.overview_board import OVERVIEW
from raymon.artifacts.worker_board import ONE_WORKER

DASHBOARDS: Final[tuple[Dashboard, ...]] = (OVERVIEW, ONE_WORKER, LEARNER, NODES_BOARD)
