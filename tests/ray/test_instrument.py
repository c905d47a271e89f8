"""`instrument` over and under `@ray.remote`, with sync, async and threaded actors, in a real scrape."""

import asyncio
import inspect

import pytest
import ray
from exported import series, total
from support import ray_session, settle

import raymon
from raymon import catalog
from raymon.monitor import monitor_of


@pytest.fixture(scope="module", autouse=True)
def cluster():
    with ray_session(num_cpus=4):
        yield


@raymon.instrument(rollout="sample", steps=len, run="over")
@ray.remote(num_cpus=0, max_restarts=1)
class Over:
    def sample(self, n: int) -> list[int]:
        return [0] * n


@ray.remote(num_cpus=0)
@raymon.instrument(rollout="sample", steps=len, run="under", worker="rank")
class Under:
    def __init__(self, rank: int = 0):
        self.rank = rank

    @ray.method(num_returns=1)
    def sample(self, n: int) -> list[int]:
        return [0] * n


@ray.remote(num_cpus=0)
class Ranked:
    def __init__(self, rank: int):
        self.rank = rank

    def sample(self): ...

    def who(self):
        return monitor_of(self).worker


@ray.remote(num_cpus=0)
class Theirs:
    async def sample(self, n: int) -> int:
        await asyncio.sleep(0.01)
        return n

    def items(self, n: int):
        yield from range(n)


def test_over_and_under_and_around_somebody_else_s():
    mine = raymon.instrument(Theirs, rollout=("sample", "items"), steps=lambda n: n, run="theirs")
    over = [Over.remote() for _ in range(3)]
    under = Under.remote(rank=7)
    theirs = mine.remote()
    untouched = Theirs.remote()
    assert [len(steps) for steps in ray.get([worker.sample.remote(5) for worker in over])] == [5, 5, 5]
    assert len(ray.get(under.sample.remote(4))) == 4
    assert sum(ray.get([theirs.sample.remote(n) for n in range(20)])) == 190
    items = theirs.items.options(num_returns="streaming").remote(4)
    assert [ray.get(item) for item in items] == [0, 1, 2, 3]
    ray.get(untouched.sample.remote(1000))

    def arrived():
        assert total(catalog.ENV_STEPS, run="over") == 15
        assert {total(catalog.ENV_STEPS, run="over", worker=number) for number in range(3)} == {5.0}
        assert total(catalog.ENV_STEPS, run="under", worker=7) == 4
        assert total(catalog.ENV_STEPS, run="theirs") == 196
        assert total(catalog.ROLLOUTS, run="theirs") == 24

    settle(arrived)


def test_threaded_actors_in_exact_numbers():
    worker = Under.options(max_concurrency=8).remote(rank=8)
    ray.get([worker.sample.remote(n) for n in range(200)])

    def arrived():
        assert total(catalog.ENV_STEPS, run="under", worker=8) == sum(range(200))
        assert total(catalog.ROLLOUTS, run="under", worker=8) == 200

    settle(arrived)


def test_a_worker_shows_before_its_first_rollout():
    waiting = Over.remote()
    ray.get(waiting.__ray_ready__.remote())

    def shown():  # beside those of the actors before it, which fade with time
        assert series(catalog.ACTIVITY, run="over", activity="starting").count(1.0) == 1

    settle(shown)


def test_a_chosen_number_is_not_assigned_again():
    given = [raymon.instrument(Ranked, rollout="sample", run="mixed", worker="rank").remote(rank) for rank in (1, 3)]
    ray.get([worker.__ray_ready__.remote() for worker in given])
    for number in ("0", "2", "4"):
        assert ray.get(raymon.instrument(Ranked, rollout="sample", run="mixed").remote(9).who.remote()) == number


def test_the_remote_class_keeps_its_methods_and_options():
    assert Over._default_options["max_restarts"] == 1
    mine = raymon.instrument(Over, rollout="sample")
    assert mine._default_options["max_restarts"] == 1
    parameters = inspect.signature(mine.__ray_metadata__.modified_class.sample).parameters
    assert list(parameters)[:2] == ["self", "n"]
    with pytest.raises(TypeError):
        ray.get(Under.remote(7).sample.remote())
