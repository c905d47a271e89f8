"""Every PromQL expression over the catalogue, once, with title, unit and help.

Dashboards and the readers of history take their queries from here. `BOOK` maps `module.NAME` to each.

Example:
    >>> from raymon import queries
    >>> queries.run.STEPS_PER_SECOND_NOW.unit
    'short'
"""

from collections.abc import Mapping
from types import MappingProxyType, ModuleType
from typing import Final

from raymon.queries import cluster, flow, language, learning, ray_families, run, verdicts, workers
from raymon.queries.query import Query, substitute

__all__ = [
    "BOOK",
    "Query",
    "cluster",
    "flow",
    "language",
    "learning",
    "ray_families",
    "run",
    "substitute",
    "verdicts",
    "workers",
]


def _of_module(module: ModuleType) -> dict[str, Query]:
    prefix = module.__name__.rpartition(".")[2]
    return {f"{prefix}.{name}": value for name, value in vars(module).items() if isinstance(value, Query)}


_MODULES: Final = (run, flow, workers, learning, language, cluster, verdicts)
BOOK: Final[Mapping[str, Query]] = MappingProxyType(
    {name: query for module in _MODULES for name, query in _of_module(module).items()}
)
"""Every query by its name, e.g. `run.STEPS_PER_SECOND`, in the order of declaration."""
