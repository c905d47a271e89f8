"""A test bed for the status page: metrics of runs in every state, served over HTTP, and the page that reads them."""

import contextlib
import re
import time

from http_replies import ReplyHandler, ReplyServer
from playwright.sync_api import TimeoutError as PageTimeoutError
from support import ROOT, Command, free_port, get, poll
from synthetic import Node, Page
from synthetic_values import Process

from raymon import catalog


def processes(run, faults=None, workers=4, age=3600.0):
    """A driver and its workers; `faults` maps a worker to its fault, which begins now."""
    now = time.time()
    driver = Process(run, catalog.DRIVER, now - age, 900, workers=workers)
    crew = [
        Process(run, str(w), now - age, 1000 + w, fault=(faults or {}).get(w, ""), fault_at=now) for w in range(workers)
    ]
    return [driver, *crew]


class Stage(ReplyServer):
    """A metrics endpoint whose page can be changed while it is scraped.

    Attributes:
        asked: Number of requests.
        silent: Whether it refuses to answer.
    """

    def __init__(self, *cast, clock=time.time):
        self.asked, self.silent, self._edits, self._clock = 0, False, [], clock
        super().__init__(_Handler)
        self.url += "/metrics"
        self.play(*cast)

    def play(self, *cast):
        """Serve these processes from now on."""
        self._page = Page(Node(0, tuple(cast)))

    def edit(self, metric, run, value, **labels):
        """Serve another value for the series of a run with these labels; None removes them."""
        wanted = [f'run="{run}"', *(f'{name}="{text}"' for name, text in labels.items())]
        self._edits.append((f"{metric.name}{{", wanted, value))

    def text(self):
        """Return the page as it is now."""
        lines = []
        for line in self._page.render(self._clock()).splitlines():
            for name, wanted, value in self._edits:
                if line.startswith(name) and all(part in line for part in wanted):
                    line = None if value is None else re.sub(r"\} .*", f"}} {value}", line)  # noqa: PLW2901
                    break
            if line is not None:
                lines.append(line)
        return "\n".join(lines) + "\n"


class _Handler(ReplyHandler):
    def do_GET(self):
        self.server.asked += 1
        if self.server.silent:
            self.send_error(503)
        else:
            self.reply(self.server.text().encode())


@contextlib.contextmanager
def looking_at(*urls, options=(), **env):
    """`raymon status` on metrics endpoints; yields the command, its address in `url`."""
    port = free_port()
    targets = [part for url in urls for part in ("--metrics-url", url)]
    with Command("status", "--port", str(port), *targets, *options, cwd=ROOT, **env) as command:
        command.url = f"http://127.0.0.1:{port}"
        poll(lambda: "Status page: http://" in command.text(), 60, "the page is announced")
        poll(lambda: get(f"{command.url}/_stcore/health"), 30, "the page answers")
        yield command


def show(page, url, query="", view="run"):
    """Open the page and wait until it shows a view: run, empty or login."""
    page.goto(f"{url}/{query}")
    try:
        page.wait_for_selector(f'.raymon .page[data-view="{view}"]', timeout=60_000)
    except PageTimeoutError as error:
        raise AssertionError(f"no view {view!r}; the page shows {page.locator('body').inner_text()[:800]!r}") from error


def verdict(page):
    """The state of the verdict and its text."""
    section = page.locator(".verdict")
    return section.get_attribute("data-state"), section.inner_text()


def states(page):
    """Worker to state, in the order of the table."""
    rows = page.eval_on_selector_all("tr[data-worker]", "rows => rows.map(r => [r.dataset.worker, r.dataset.state])")
    return dict(rows)
