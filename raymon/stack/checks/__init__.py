"""What `raymon doctor` looks at, in the order in which things go wrong for people."""

from raymon.stack.checks.cluster import CHECKS as CLUSTER
from raymon.stack.checks.dashboards import CHECKS as DASHBOARDS
from raymon.stack.checks.history import CHECKS as HISTORY
from raymon.stack.checks.host import CHECKS as HOST
from raymon.stack.checks.result import Check, Result
from raymon.stack.checks.situation import Asked, Situation

CHECKS: tuple[Check, ...] = (*CLUSTER, *HISTORY, *DASHBOARDS, *HOST)

__all__ = ["CHECKS", "Asked", "Check", "Result", "Situation"]
