"""The checks of `raymon doctor`, in the order in which things usually go wrong."""

from raymon.stack.checks.grafana import CHECKS as GRAFANA
from raymon.stack.checks.inspection import CheckOptions, Inspection
from raymon.stack.checks.machine import CHECKS as MACHINE
from raymon.stack.checks.outcome import Check, CheckResult
from raymon.stack.checks.prometheus import CHECKS as PROMETHEUS
from raymon.stack.checks.ray import CHECKS as RAY

CHECKS: tuple[Check, ...] = (*RAY, *PROMETHEUS, *GRAFANA, *MACHINE)

__all__ = ["CHECKS", "Check", "CheckOptions", "CheckResult", "Inspection"]
