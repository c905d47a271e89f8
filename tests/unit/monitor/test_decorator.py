"""`instrument` changes nothing of a class but that its rollouts are recorded."""

import asyncio
import copy
import inspect
import pickle
import typing
from dataclasses import dataclass

import cloudpickle
import pytest

import raymon
from raymon import catalog
from raymon.monitor import monitor_of


def total(instance, metric, *labels):
    cell = monitor_of(instance).accumulator._cells[metric.name, labels]
    return cell.total


@raymon.instrument(rollout="sample", steps=len, worker="index")
class Sampler:
    """Samples."""

    scale: int = 2

    def __init__(self, index: int, *, offset: int = 0) -> None:
        self.index = index
        self.offset = offset

    def sample(self, n: int = 3) -> list[int]:
        """Sample n numbers."""
        return [self.offset] * n

    def other(self) -> int:
        return self.index

    def __eq__(self, other):
        return vars(self) == vars(other)

    def __hash__(self):
        return self.index


class Plain:
    def __init__(self, index: int, *, offset: int = 0) -> None:
        self.index = index
        self.offset = offset

    def sample(self, n: int = 3) -> list[int]:
        """Sample n numbers."""
        return [self.offset] * n


def test_signature_type_hints_names_and_docstrings_stay():
    assert inspect.signature(Sampler) == inspect.signature(Plain)
    assert inspect.signature(Sampler.sample) == inspect.signature(Plain.sample)
    assert typing.get_type_hints(Sampler.sample) == typing.get_type_hints(Plain.sample)
    assert typing.get_type_hints(Sampler) == {"scale": int}
    assert (Sampler.__name__, Sampler.__qualname__, Sampler.__doc__) == ("Sampler", "Sampler", "Samples.")
    assert Sampler.sample.__doc__ == Plain.sample.__doc__


@dataclass
class Foreign:
    """A class that is not to be edited."""

    state: int

    def sample(self, n):
        return list(range(n))


def test_an_instance_of_a_class_that_is_left_alone_pickles_too():
    mine = raymon.instrument(Foreign, rollout="sample", steps=len)(3)
    for module in (pickle, cloudpickle):
        again = module.loads(module.dumps(mine))
        assert isinstance(again, Foreign)
        assert type(again) is not Foreign
        assert again.state == 3
        again.sample(2)
        assert monitor_of(again).enabled
    assert copy.deepcopy(mine).state == 3


def test_instances_keep_their_state_and_pickle_as_before():
    sampler = Sampler(4, offset=1)
    assert vars(sampler) == {"index": 4, "offset": 1}
    for module in (pickle, cloudpickle):
        again = module.loads(module.dumps(sampler))
        assert again == sampler
        assert type(again) is Sampler
        assert again.sample(2) == [1, 1]
        assert total(again, catalog.ENV_STEPS) == 2
    assert total(sampler, catalog.ENV_STEPS) == 0


def test_recording_uses_the_constructors_number():
    sampler = Sampler(4)
    assert sampler.sample(5) == [0] * 5
    sampler.sample(n=2)
    sampler.other()
    assert monitor_of(sampler).worker == "4"
    assert total(sampler, catalog.ENV_STEPS) == 7
    assert total(sampler, catalog.ROLLOUTS) == 2
    assert total(sampler, catalog.WORKER_PHASE, "environment") > 0


def test_a_constructor_that_raises_counts_as_a_failure():
    kept = []

    @raymon.instrument(rollout="sample")
    class Broken:
        def __init__(self):
            kept.append(self)
            raise OSError("no licence")

        def sample(self): ...

    with pytest.raises(OSError, match="no licence"):
        Broken()
    assert total(kept[0], catalog.ROLLOUT_FAILURES, "OSError in __init__") == 1


def test_errors_of_the_class_are_the_class_s_own():
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'index'"):
        Sampler()
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        Sampler(1).sample(k=3)


def test_a_class_one_cannot_edit_is_left_alone():
    theirs = Plain.sample
    mine = raymon.instrument(Plain, rollout="sample", steps=3, phase="inference")
    assert Plain.sample is theirs
    assert issubclass(mine, Plain)
    assert inspect.signature(mine) == inspect.signature(Plain)
    instance = cloudpickle.loads(cloudpickle.dumps(mine))(1)
    instance.sample()
    assert total(instance, catalog.ENV_STEPS) == 3
    assert total(instance, catalog.WORKER_PHASE, "inference") > 0


def test_classes_of_every_make():
    @raymon.instrument(rollout="run", steps=1)
    class Slotted:
        __slots__ = ("x",)

        def run(self):
            return self

    @raymon.instrument(rollout="run", steps=1)
    @dataclass(order=True)
    class Data:
        x: int = 0

        def run(self):
            return self

    @raymon.instrument(rollout="run", steps=1)
    class Pair(typing.NamedTuple("Pair", [("x", int)])):
        def run(self):
            return self

    class Base:
        def run(self):
            return self

    @raymon.instrument(rollout="run", steps=1)
    class Derived(Base):
        pass

    assert str(inspect.signature(Derived)) == "()"
    for instance in (Slotted(), Data(3), Pair(x=3), Derived()):
        assert instance.run() is instance
        assert total(instance, catalog.ENV_STEPS) == 1
    base = Base()
    base.run()
    assert not monitor_of(base).enabled, "the base class is left alone"


def test_an_overridden_method_that_calls_the_instrumented_one_is_one_rollout():
    @raymon.instrument(rollout="sample", steps=len)
    class Longer(Sampler):
        def sample(self, n=3):
            return super().sample(n) + super().sample(n)

    longer = Longer(1)
    longer.sample(2)
    assert total(longer, catalog.ROLLOUTS) == 1
    assert total(longer, catalog.ENV_STEPS) == 4


@raymon.instrument(rollout=("sample", "collect"), steps=len)
class Abstract:
    def __init_subclass__(cls, suffix="", **options):
        super().__init_subclass__(**options)
        cls.suffix = suffix

    def sample(self):
        raise NotImplementedError

    def collect(self):
        return [1, 2]


class Replacing(Abstract, suffix="own"):
    def sample(self):
        return [1, 2, 3]

    def collect(self):
        return {"batch": super().collect() + super().collect()}


def test_methods_that_a_derived_class_overrides_are_recorded():
    for derived in (Replacing, cloudpickle.loads(cloudpickle.dumps(Replacing)), type("Again", (Replacing,), {})):
        instance = derived()
        instance.sample()
        assert (total(instance, catalog.ROLLOUTS), total(instance, catalog.ENV_STEPS)) == (1, 3)
        instance.collect()
        assert (total(instance, catalog.ROLLOUTS), total(instance, catalog.ENV_STEPS)) == (2, 7), "the base counts"
        assert total(instance, catalog.RECORDING_DROPPED) == 0
    assert Replacing.suffix == "own"


def test_nested_methods_count_steps_and_episodes_once():
    ended = {"steps": len, "episodes": lambda result: [(1.0, len(result))]}

    @raymon.instrument(rollout=("one", "many", "down"), **ended)
    @raymon.instrument(rollout="one", **ended)
    class Calls:
        def one(self):
            return [1]

        def many(self, n):
            return [each for _ in range(n) for each in self.one()]

        def down(self, n):
            return [n, *self.down(n - 1)] if n else []

    for method, arguments, steps in (("one", (), 1), ("many", (5,), 5), ("down", (4,), 4)):
        calls = Calls()
        getattr(calls, method)(*arguments)
        assert total(calls, catalog.ENV_STEPS) == steps
        assert total(calls, catalog.EPISODES) == total(calls, catalog.ROLLOUTS) == 1


def test_inner_calls_count_what_outer_ones_do_not():
    @raymon.instrument(rollout="both")
    class Both(Sampler):
        def __init__(self):
            super().__init__(2)
            self.another = Sampler(3)

        def both(self):
            return [self.sample(1), self.sample(2), self.another.sample(4)]

    both = Both()
    both.both()
    with monitor_of(both).rollout():
        both.sample(5)
    assert total(both, catalog.ENV_STEPS) == 8
    assert total(both, catalog.ROLLOUTS) == 2
    assert total(both.another, catalog.ENV_STEPS) == 4
    assert total(both.another, catalog.ROLLOUTS) == 1


def test_a_subclass_constructor_provides_the_worker_number():
    @raymon.instrument(rollout="sample", steps=len)
    class Configured(Sampler):
        def __init__(self, config):
            super().__init__(config["index"])

    @raymon.instrument(rollout="sample", steps=len)
    class Same(Sampler):
        pass

    assert monitor_of(Configured({"index": 7})).worker == "7"
    assert monitor_of(Same(8)).worker == "8"


def test_instances_with_slots_and_reused_ids_have_own_monitors():
    @raymon.instrument(rollout="run", worker="number")
    class Slotted:
        __slots__ = ()

        def __init__(self, number):
            pass

        def run(self):
            return monitor_of(self).worker

    assert [Slotted(number).run() for number in range(5)] == list("01234")


def test_values_sent_to_a_generator_arrive():
    received = []

    def talk():
        try:
            received.append((yield 1))
            try:
                yield 2
            except KeyError:
                yield 3
        finally:
            received.append("closed")

    @raymon.instrument(rollout=("items", "later"), steps=1)
    class Talks:
        def items(self):
            yield from talk()

        async def later(self):
            talking = talk()
            try:
                received.append((yield next(talking)))
                try:
                    yield 2
                except KeyError:
                    yield 3
            finally:
                received.append("closed")

    async def consume():
        later = Talks().later()
        assert [await anext(later), await later.asend("b"), await later.athrow(KeyError("x"))] == [1, 2, 3]
        await later.aclose()

    items = Talks().items()
    assert [next(items), items.send("a"), items.throw(KeyError("x"))] == [1, 2, 3]
    items.close()
    asyncio.run(consume())
    assert received[:4] == ["a", "closed", "b", "closed"]


def test_recording_that_is_off_costs_no_monitor():
    assert monitor_of(object()) is monitor_of(object())
    assert not monitor_of(object()).enabled


def test_a_variable_that_makes_no_sense_never_stops_an_actor(monkeypatch, caplog):
    from raymon.monitor import identity

    monkeypatch.setattr(identity, "_logged", set())
    monkeypatch.setenv("RAYMON_WORKER", "abc")
    monkeypatch.setenv("RAYMON_RUN", "x" * 200)
    for _ in range(2):
        mine = raymon.instrument(Plain, rollout="sample")(1)
        assert len(mine.sample()) == 3
        assert (monitor_of(mine).run, monitor_of(mine).worker) == (None, None)
    assert [record.getMessage().split(": found")[0] for record in caplog.records] == [
        "raymon: RAYMON_RUN",
        "raymon: RAYMON_WORKER",
    ]


def test_coroutines_run_side_by_side_in_exact_numbers():
    @raymon.instrument(rollout=("sample", "sample_more"), steps=lambda result: result)
    class Async:
        async def sample(self, n):
            await asyncio.sleep(0.001 * (n % 3))
            with monitor_of(self).phase("inference"):
                await asyncio.sleep(0.001)
            return n

        async def sample_more(self, n):
            return n

    async def body():
        await asyncio.gather(*(worker.sample(n) for n in range(50)), worker.sample_more(1000))

    worker = Async()
    assert inspect.iscoroutinefunction(Async.sample)
    asyncio.run(body())
    assert total(worker, catalog.ENV_STEPS) == sum(range(50)) + 1000
    assert total(worker, catalog.ROLLOUTS) == 51
    spent = {p: total(worker, catalog.WORKER_PHASE, p) for p in catalog.WORKER_PHASES}
    assert spent["inference"] > 0
    assert spent["environment"] > 0


def test_each_item_of_a_method_that_yields_is_a_rollout():
    @raymon.instrument(rollout=("items", "later"), steps=len)
    class Streams:
        def items(self, n):
            for size in range(n):
                yield "x" * size
            return "end"

        async def later(self, n):
            for size in range(n):
                yield "x" * size

    async def consume():
        return [item async for item in streams.later(4)]

    streams = Streams()
    assert list(streams.items(4)) == ["", "x", "xx", "xxx"]
    assert total(streams, catalog.ROLLOUTS) == 4
    assert asyncio.run(consume()) == ["", "x", "xx", "xxx"]
    assert total(streams, catalog.ROLLOUTS) == 8
    assert total(streams, catalog.ENV_STEPS) == 12


def test_episodes_and_a_counting_function_that_fails():
    @raymon.instrument(rollout="sample", steps=lambda result: result["steps"], episodes=lambda result: result["done"])
    class Worker:
        def sample(self, result):
            return result

    worker = Worker()
    worker.sample({"steps": 9, "done": [(1.0, 4), (3.0, 5)]})
    worker.sample({})
    assert total(worker, catalog.EPISODES) == 2
    assert total(worker, catalog.ENV_STEPS) == 9
    assert total(worker, catalog.ROLLOUTS) == 2
    assert total(worker, catalog.RECORDING_DROPPED) == 1


def test_a_number_that_is_none_does_not_stop_the_actor():
    sampler = Sampler("first")
    assert len(sampler.sample()) == 3
    assert total(sampler, catalog.RECORDING_DROPPED) == 1


def test_invalid_arguments_list_the_choices():
    with pytest.raises(ValueError, match="Plain has no method 'smaple'; it has sample"):
        raymon.instrument(Plain, rollout="smaple")
    with pytest.raises(ValueError, match="no parameter 'rank'; it has index, offset"):
        raymon.instrument(Plain, rollout="sample", worker="rank")
    with pytest.raises(ValueError, match="expected one of environment"):
        raymon.instrument(Plain, rollout="sample", phase="stepping")
    with pytest.raises(TypeError, match="expected the name of a method"):
        raymon.instrument(Plain, rollout=Plain.sample)
    with pytest.raises(TypeError, match="in a function, record with"):
        raymon.instrument(rollout="sample")(print)
    with pytest.raises(TypeError, match="an object of type Plain, expected a class"):
        raymon.instrument(rollout="sample")(Plain(1))
    with pytest.raises(ValueError, match="found no method in rollout"):
        raymon.instrument(rollout=())
    for wrong in ({"steps": "len"}, {"steps": -1}, {"steps": True}, {"episodes": "ended"}, {"run": ""}, {"run": 5}):
        with pytest.raises(ValueError, match=r"found .*expected"):
            raymon.instrument(rollout="sample", **wrong)


def test_a_method_without_an_instance_is_refused():
    class Kinds:
        @staticmethod
        def static(): ...

        @classmethod
        def of_class(cls): ...

        @property
        def value(self): ...

    for name, kind in (("static", "staticmethod"), ("of_class", "classmethod"), ("value", "property")):
        with pytest.raises(ValueError, match=f"Kinds.{name} is of type {kind}, expected a method with `self`"):
            raymon.instrument(Kinds, rollout=name)


def test_switched_off_it_returns_the_class():
    assert raymon.instrument(Plain, rollout="sample", enabled=False) is Plain
