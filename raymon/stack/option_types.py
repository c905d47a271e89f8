"""Types of command line options: each returns the parsed text, or raises what was expected instead."""

import argparse
import math
from urllib.parse import urlsplit

from raymon.cluster.http import is_url


def port(text: str) -> int:
    """Return a TCP port."""
    if not text.isdecimal() or not 1 <= int(text) <= 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: expected 1 to 65535, or no option for any free one")
    return int(text)


def url(text: str) -> str:
    """Return the address of a server, without a slash at its end."""
    if not is_url(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not an address: expected http(s)://host[:port][/path]")
    return text.rstrip("/")


def target(text: str) -> str:
    """Return the `host:port` of a metrics endpoint."""
    host, _, number = text.rpartition(":")
    if "/" in text or not number.isdecimal() or not is_url(f"http://{text}") or urlsplit(f"http://{host}").port:
        raise argparse.ArgumentTypeError(f"{text!r} is not a target: expected HOST:PORT, without http:// and path")
    return text


def seconds(text: str) -> float:
    """Return a positive number of seconds."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration: expected a positive number of seconds")
    return number
