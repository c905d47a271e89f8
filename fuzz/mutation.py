"""Mutation that knows the structure: trees as JSON holds them, lines of text with their words and numbers, bytes."""

import contextlib
import json
import pickle
import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final, TypeVar

T = TypeVar("T")

MARKUP: Final = "x\"fz x'fz x<fz onload=1>"
"""Text that is drawn as markup wherever one of its three characters is not escaped; `drawn.check_html` looks for it."""
TEXTS: Final = (
    MARKUP,
    "</style></script><!--",
    "\x1b[31m\x1b]0;title\x07\x9b1m",
    "\N{RIGHT-TO-LEFT OVERRIDE}abc\N{ZERO WIDTH SPACE}",
    "\0",
    "\r\n",
    "\ud800",
    "",
    " ",
    "a" * 5000,
    "0; touch x | sh #",
    "../../../etc/passwd",
    "%s%n{0}{x.__class__}",
    "NaN",
    "-",
    "1e999",
    "9" * 5000,
    "0x10",
    "1_000",
    "²",  # str.isdigit() holds, int() fails
    "٣",  # str.isdecimal() holds, and it is not ASCII
    "None",
    "driver",
    "http://[::1",
    "http://127.0.0.1:99999/metrics",
    "file:///etc/passwd",
    "../x:0",
)
NUMBERS: Final[tuple[Any, ...]] = (
    0,
    -1,
    1,
    -0.0,
    0.5,
    5e-324,
    1e-300,
    1e300,
    -1e300,
    1e308,
    1.7976931348623157e308,
    -1e308,
    float("nan"),
    float("inf"),
    float("-inf"),
    2**31,
    2**53 + 1,
    2**63,
    -(2**63),
    2**64,
    10**30,
    10**400,
    1e11,
    1e15,
    253402300800,  # the year 10000
)
_OTHERS: Final[tuple[Any, ...]] = (None, True, False, [], {}, [[]], [None], {"": None}, {"x": {}}, [0, "", []])
_TOKEN: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"|[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|[A-Za-z_][\w.-]*')
_BYTES: Final = (b"\0", b"\xff", b"\xc0\x80", b"\n", b'"', b"{", b"[" * 100_000, b"}", b"\x1b[31m", b"9" * 5000)


_MOST_TEXT: Final = 200_000
"""A text that has grown beyond so many characters is not changed any more."""
_MOST_PLACES: Final = 10_000
"""A tree that has grown beyond so many values is not changed any more."""


def hostile_text(random: Random) -> str:
    """Return text that a careless reader stumbles over."""
    return random.choice(TEXTS)


def hostile_value(random: Random) -> Any:  # noqa: ANN401  # anything JSON can hold
    """Return a value of any type that JSON can hold."""
    kind = random.random()
    if kind < 0.4:
        return random.choice(NUMBERS)
    return hostile_text(random) if kind < 0.75 else pickle.loads(pickle.dumps(random.choice(_OTHERS)))  # noqa: S301  # own


def few(random: Random, most: int = 6) -> int:
    """Return how many changes to make: mostly one or two."""
    return min(most, int(random.expovariate(0.7)) + 1)


def tree(random: Random, sample: T) -> T:
    """Return a changed copy of a tree of dictionaries and lists."""
    root = pickle.loads(pickle.dumps(sample))  # noqa: S301  # a copy of our own sample
    if random.random() < 0.02:
        return hostile_value(random)  # type: ignore[no-any-return]
    for _ in range(few(random)):
        places = _places(root) if isinstance(root, dict | list) else []
        if 0 < len(places) < _MOST_PLACES:
            _change(random, *random.choice(places), places)
    return root  # type: ignore[no-any-return]


def _places(container: Any) -> "list[tuple[Any, Any]]":  # noqa: ANN401  # any tree
    keys = list(container) if isinstance(container, dict) else range(len(container))
    places = [(container, key) for key in keys]
    for key in keys:
        if isinstance(container[key], dict | list):
            places += _places(container[key])
    return places


def _change(random: Random, container: Any, key: Any, places: "list[tuple[Any, Any]]") -> None:  # noqa: ANN401  # any tree
    kind = random.randrange(8)
    value = container[key]
    if kind == 0:
        del container[key]
    elif kind == 1 and isinstance(container, dict):
        container[hostile_text(random)] = hostile_value(random)
    elif kind == 2 and isinstance(container, list) and len(container) < 1000:
        container += [value] * random.choice((1, 2) if isinstance(value, dict | list) else (1, 2, 100))
    elif kind == 3:
        other, where = random.choice(places)
        with contextlib.suppress(RecursionError):  # a change before nested it too deep to copy
            container[key] = pickle.loads(pickle.dumps(other[where]))  # noqa: S301  # a copy of our own
    elif kind == 4:
        for _ in range(random.choice((1, 3, 200))):
            value = [value]
        container[key] = value
    elif isinstance(value, int | float) and not isinstance(value, bool) and random.random() < 0.6:
        container[key] = random.choice((-value, value * 1000, value + 1, random.choice(NUMBERS)))
    else:
        container[key] = hostile_value(random)


def json_bytes(random: Random, sample: Any) -> bytes:  # noqa: ANN401  # any tree
    """Return a changed tree as JSON; sometimes its text is changed as well."""
    changed = tree(random, sample) if random.random() < 0.9 else sample
    text = json.dumps(changed, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")
    return data(random, text) if random.random() < 0.2 else text


def text(random: Random, sample: str) -> str:
    """Return a changed text: words, numbers and quoted texts replaced, lines repeated, moved and left out."""
    for _ in range(few(random, 8)):
        if len(sample) > _MOST_TEXT:
            break
        sample = _TEXT[random.randrange(len(_TEXT))](random, sample)
    return sample


def _token(random: Random, sample: str) -> str:
    tokens = list(_TOKEN.finditer(sample))
    if not tokens:
        return sample + hostile_text(random)
    token = random.choice(tokens)
    if token[0].startswith('"'):
        new = f'"{random.choice((_escaped, _same))(hostile_text(random))}"'
    elif token[0][0].isalpha() or token[0][0] == "_":
        new = random.choice((hostile_text(random), random.choice(tokens)[0]))
    else:
        new = random.choice((repr(random.choice(NUMBERS)), hostile_text(random), "-" + token[0], token[0] * 20))
    return sample[: token.start()] + new + sample[token.end() :]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _same(text: str) -> str:
    return text


def _lines(random: Random, sample: str) -> str:
    lines = sample.splitlines(keepends=True) or [""]
    at, other = random.randrange(len(lines)), random.randrange(len(lines))
    kind = random.randrange(5)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines[at] = lines[at] * random.choice((2, 100))
    elif kind == 2:
        lines[at], lines[other] = lines[other], lines[at]
    elif kind == 3:
        lines[at] = lines[at].rstrip("\n") + lines[other]
    else:
        lines.insert(at, hostile_text(random) + "\n")
    return "".join(lines)


def _cut(random: Random, sample: str) -> str:
    return sample[: random.randrange(len(sample) + 1)] if random.random() < 0.2 else sample


_TEXT: Final[Sequence[Callable[[Random, str], str]]] = (_token, _token, _token, _lines, _cut)


def data(random: Random, sample: bytes) -> bytes:
    """Return changed bytes: flipped, removed, repeated, inserted, cut off, or not the sample at all."""
    if random.random() < 0.02:
        return random.randbytes(random.choice((0, 1, 4, 64, 4096)))
    content = bytearray(sample)
    for _ in range(few(random)):
        at = random.randrange(len(content) + 1)
        length = random.choice((1, 1, 2, 4, 8, 64))
        kind = random.randrange(5)
        if kind == 0 and at < len(content):
            content[at] ^= 1 << random.randrange(8)
        elif kind == 1:
            del content[at : at + length]
        elif kind == 2:
            content[at:at] = content[at : at + length] * random.choice((1, 2, 50))
        elif kind == 3:
            content[at:at] = random.choice(_BYTES)
        elif random.random() < 0.3:
            del content[at:]
        else:
            content[at : at + length] = random.randbytes(length)
    return bytes(content)
