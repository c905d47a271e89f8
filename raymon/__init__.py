"""raymon: monitoring and profiling for reinforcement learning on Ray.

Example:
    >>> import raymon
    >>> raymon.Metric("resets_total", "counter", "Resets of the simulator.").name
    'ray_raymon_resets_total'
"""

from importlib import import_module
from typing import TYPE_CHECKING

from raymon.catalog import Metric

if TYPE_CHECKING:
    from raymon.monitor import DriverMonitor, Monitor, instrument

__version__ = "0.2.0"
__all__ = ["DriverMonitor", "Metric", "Monitor", "__version__", "instrument"]

if not TYPE_CHECKING:  # type checkers would take any name to be there

    def __getattr__(name: str) -> object:
        """Import the recording side when it is first asked for, so that `import raymon` costs next to nothing."""
        if name in ("DriverMonitor", "Monitor", "instrument"):
            return getattr(import_module("raymon.monitor"), name)
        raise AttributeError(f"module 'raymon' has no attribute {name!r}; it has {', '.join(__all__)}")
