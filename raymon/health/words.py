"""Numbers as people read them, in sentences."""

from collections.abc import Sequence


def seconds(value: float) -> str:
    """Return a duration: 37.3 µs, 812 ms, 3.2 s, 48 s, 12 min."""
    if 0.0 < value < 0.0009995:
        return f"{value * 1e6:.3g} µs"
    if value < 0.0995:
        return f"{value * 1000:.3g} ms"
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    if value < 9.95:
        return f"{value:.1f} s"
    return f"{value:.0f} s" if value < 180 else f"{value / 60:.0f} min"


def percent(ratio: float) -> str:
    """Return a share: 96 %."""
    return f"{100.0 * ratio:.0f} %"


def size(count: float) -> str:
    """Return bytes: 12 MB, 1.5 GB."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale * 0.9995:
            return f"{count / scale:.3g} {unit}"
    return f"{count:.0f} B"


def rate(value: float) -> str:
    """Return a number per second: 0.4, 12, 1.2k, 76k, 3.4M."""
    for unit, scale in (("M", 1e6), ("k", 1e3)):
        if value >= scale * 0.9995:
            return f"{value / scale:.3g}{unit}"
    return f"{value:.2g}" if value < 9.95 else f"{value:.0f}"


def number(value: float) -> str:
    """Return any number: 0.0123, 475, -1,200."""
    return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.3g}"


def listing(names: Sequence[str], most: int = 5) -> str:
    """Return names in a row, the surplus counted: 1, 2 and 40 more."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else "".join(names)
