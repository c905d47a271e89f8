"""What a real Ray node exports: the series of one family, read from its metrics page."""

import re

from support import get, metrics_url

LINE = re.compile(r"(?P<name>\w+)\{(?P<labels>[^}]*)\} (?P<value>\S+)")
LABEL = re.compile(r'(\w+)="([^"]*)"')


def series(metric, **wanted):
    """Return the values of a family's series in the scrape that carry the wanted labels."""
    samples = []
    for line in get(metrics_url()).splitlines():
        match = LINE.fullmatch(line)
        if match and match["name"] == metric.name:
            labels = dict(LABEL.findall(match["labels"]))
            if all(labels.get(label) == str(value) for label, value in wanted.items()):
                samples.append(float(match["value"]))
    return samples


def total(metric, **wanted):
    return sum(series(metric, **wanted))
