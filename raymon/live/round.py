"""One round of scrapes, parsed: the input of everything a viewer sees, and what a recording stores."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from raymon.live.parse import Parser, SeriesKey
from raymon.live.scrape import Page
from raymon.live.silent_processes import SilentProcess
from raymon.live.targets import Endpoints
from raymon.views import WorkerLoss

Sample = tuple[SeriesKey, float]


@dataclass(frozen=True, slots=True)
class ParsedPage:
    """The samples of one metrics page, or why there are none.

    Attributes:
        size: Length of the page in bytes.
        seconds: How long the scrape took.
        is_ray: Whether it looked like the metrics page of a Ray node.
    """

    url: str
    samples: Sequence[Sample] = ()
    error: str = ""
    size: int = 0
    seconds: float = 0.0
    is_ray: bool = False


@dataclass(frozen=True, slots=True)
class Round:
    """Every page of one round; `taken_at` is wall-clock seconds, `endpoints` what the discovery returned.

    `silent` holds what is known of silent processes, `losses` by run the workers that its driver lost. The clock of the
    reader has been set back by `set_back_seconds` since its first round; `taken_at` goes on where it was.
    """

    taken_at: float
    pages: tuple[ParsedPage, ...] = ()
    endpoints: Endpoints = field(default_factory=Endpoints)
    silent: tuple[SilentProcess, ...] = ()
    losses: Mapping[str, tuple[WorkerLoss, ...]] = field(default_factory=dict)
    set_back_seconds: float = 0.0


def parse_round(pages: Iterable[Page], endpoints: Endpoints, now: float, parser: Parser) -> Round:
    """Parse the pages of one round of scrapes."""
    return Round(now, tuple(_parse(page, parser) for page in pages), endpoints)


def _parse(page: Page, parser: Parser) -> ParsedPage:
    seconds = round(page.seconds, 4)
    if page.error:
        return ParsedPage(page.url, error=page.error, seconds=seconds)
    is_ray = b"\nray_" in page.body or page.body.startswith((b"# HELP", b"ray_"))
    return ParsedPage(page.url, parser.samples(page.body), "", len(page.body), seconds, is_ray)
