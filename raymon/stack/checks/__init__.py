"""The checks of `raymon doctor`, in the order in which things usually go wrong."""

from raymon.stack.checks.grafana import CHECKS as GRAFANA
from raymon.stack.checks.inspection import Context, Request
from raymon.stack.checks.machine import CHECKS as MACHINE
from raymon.stack.checks.outcome import Check, Result
from raymon.stack.checks.prometheus import CHECKS as PROMETHEUS
from raymon.stack.checks.ray import CHECKS as RAY

CHECKS: tuple[Check, ...] = (*RAY, *PROMETHEUS, *GRAFANA, *MACHINE)

__all__ = ["CHECKS", "Check", "Context", "Request", "Result"]
