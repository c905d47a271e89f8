"""The checks of `raymon doctor`, in the order in which things usually go wrong."""

from raymon.stack.checks.cluster import CHECKS as CLUSTER
from raymon.stack.checks.context import Context, Request
from raymon.stack.checks.dashboards import CHECKS as DASHBOARDS
from raymon.stack.checks.history import CHECKS as HISTORY
from raymon.stack.checks.host import CHECKS as HOST
from raymon.stack.checks.result import Check, Result

CHECKS: tuple[Check, ...] = (*CLUSTER, *HISTORY, *DASHBOARDS, *HOST)

__all__ = ["CHECKS", "Check", "Context", "Request", "Result"]
