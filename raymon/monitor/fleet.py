"""The states of the driver's workers: expected, up, restarting, given up."""

from collections.abc import Iterator

from raymon import catalog


class Fleet:
    """The state of every worker that the driver has named."""

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._states: dict[str, str] = {}
        self._lost: set[str] = set()

    def put(self, worker: str, state: str) -> None:
        """Set a worker's state: `up`, `restarting` or `given_up`."""
        self._states[worker] = state
        if state != "up":
            self._lost.add(worker)

    def add(self, worker: str) -> None:
        """Register a worker as up unless it is known."""
        self._states.setdefault(worker, "up")

    def counts(self) -> dict[str, int]:
        """Return how many workers are in each of `catalog.FLEET_STATES`."""
        states = list(self._states.values())
        counts = {state: states.count(state) for state in catalog.FLEET_STATES}
        counts["expected"] = max(self._expected, len(states))
        return counts

    def trouble(self) -> Iterator[tuple[str, str, float]]:
        """Yield worker, state and 1 or 0 for every worker that was ever lost."""
        for worker in sorted(self._lost):
            for state in catalog.WORKER_TROUBLE.values["state"]:
                yield worker, state, float(self._states[worker] == state)
