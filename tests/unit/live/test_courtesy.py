"""A collection gives way to whoever draws, for as long as it has worked."""

import threading
import time

from support import poll
from synthetic import Page as SyntheticPage
from synthetic import fleet

from raymon.live.collector import Collector
from raymon.live.courtesy import MOST_SECONDS, Courtesy
from raymon.live.scrape import Page, Scraper


def test_nobody_in_a_hurry_costs_no_wait():
    courtesy, begun = Courtesy(), time.monotonic()
    assert list(courtesy.between(range(10_000))) == list(range(10_000))
    assert time.monotonic() - begun < MOST_SECONDS


def test_work_stands_still_during_a_hurry_and_goes_on_after_it():
    courtesy, end, turns = Courtesy(), threading.Event(), [0]

    def work():
        while not end.is_set():
            courtesy.give_way()
            turns[0] += 1
            time.sleep(0.001)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    poll(lambda: turns[0] > 100, what="the worker works")
    with courtesy.hurry():
        time.sleep(0.02)  # it comes to its next point
        before = turns[0]
        time.sleep(0.05)
        assert turns[0] == before
    poll(lambda: turns[0] > before + 10, what="the worker goes on")
    end.set()
    worker.join()


def test_work_waits_for_somebody_who_is_expected_but_not_for_ever():
    courtesy, begun = Courtesy(), time.monotonic()
    courtesy.expect(0.2)
    courtesy.give_way()
    assert 0.15 < time.monotonic() - begun < MOST_SECONDS
    begun = time.monotonic()
    courtesy.give_way()
    assert time.monotonic() - begun < 0.1


def test_an_endless_hurry_does_not_end_the_work():
    courtesy = Courtesy()
    with courtesy.hurry():
        begun = time.monotonic()
        courtesy.give_way()
        courtesy.give_way()
        assert time.monotonic() - begun < 2 * MOST_SECONDS + 1.0


class Counting(Courtesy):
    calls = 0

    def give_way(self) -> None:
        self.calls += 1


def test_requests_give_way_before_they_begin():
    courtesy = Counting()
    Scraper(courtesy=courtesy).fetch(["ftp://a", "ftp://b", "ftp://c"])
    assert courtesy.calls == 3


def test_a_collection_gives_way_at_every_page_and_worker():
    courtesy, moment = Counting(), time.time()
    pages = [SyntheticPage(node) for node in fleet(workers=20, nodes=4, runs=1)]
    collector = Collector(["10.0.0.1:8080"], clock=lambda: moment, courtesy=courtesy)
    snapshot = collector.digest(
        [Page(f"http://10.0.0.{at}:8080/metrics", page.render(moment).encode()) for at, page in enumerate(pages)]
    )
    assert len(snapshot.runs[0].workers) == 20
    assert courtesy.calls >= 3 * 4 + 5 * 20
