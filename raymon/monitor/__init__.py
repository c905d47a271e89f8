"""Recording in the user's processes: `Monitor` in those that sample, `DriverMonitor` in the one that trains.

Imports the standard library and the catalogue; Ray only inside functions, once the user's process has it.
"""

from raymon.monitor.decorator import instrument
from raymon.monitor.driver_monitor import DriverMonitor
from raymon.monitor.worker_monitor import Monitor
from raymon.monitor.wrappers import monitor_of

__all__ = ["DriverMonitor", "Monitor", "instrument", "monitor_of"]
