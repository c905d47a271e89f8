"""A flame graph as HTML: outermost frames on top, width is wall time. `flame.js` enlarges a frame on a click."""

import sys
from typing import Final

from raymon.format import share
from raymon.html.markup import Html, tag
from raymon.profile.stacks import FlameNode

KEY: Final = tag(
    "ul",
    *[
        tag("li", tag("i", class_=f"dot f-{name}"), text)
        for name, text in (
            ("learn", "learner, torch"),
            ("environment", "environment"),
            ("inference", "policy, numpy"),
            ("sending", "Ray, ZeroMQ"),
            ("own", "your code and other packages"),
            ("plain", "Python itself"),
        )
    ],
    class_="legend",
)
LEAST_RATIO: Final = 0.002
"""Narrower frames are not drawn; the width of their caller includes them."""
MOST_FRAMES: Final = 4_000
DEEPEST: Final = 80
ROW_EMS: Final = 1.5
_KINDS: Final = (
    ("learn", ("torch/", "raymon/ppo/learner", "raymon/ppo/losses", "raymon/ppo/network")),
    ("environment", ("gymnasium/", "raymon/envs/", "pettingzoo/", "Box2D/", "mujoco/")),
    ("inference", ("raymon/ppo/policy", "numpy/")),
    ("sending", ("ray/", "grpc/", "msgpack/", "zmq/")),
)


def flame(root: FlameNode, subject: str) -> Html:
    """Return the flame graph of a tree of frames; `subject` names the process."""
    frames: list[Html] = []
    deepest = 0
    waiting = [(child, start, 0) for child, start in _placed(root, 0.0)]
    while waiting and len(frames) < MOST_FRAMES:
        node, start, depth = waiting.pop()
        ratio = node.count / (root.count or 1)
        if ratio < LEAST_RATIO or depth >= DEEPEST:
            continue
        deepest = max(deepest, depth)
        left = start / root.count
        frames.append(
            tag(
                "button",
                node.frame,
                type="button",
                class_=f"f-{kind(node.frame)}",
                title=f"{node.frame}: {share(ratio)} of the time",
                data_x=f"{left:.5f}",
                data_w=f"{ratio:.5f}",
                style=f"left:{left * 100:.3f}%;width:{ratio * 100:.3f}%;top:{depth * ROW_EMS:.2f}em",
            )
        )
        waiting += [(child, at, depth + 1) for child, at in _placed(node, start)]
    height = f"height:{(deepest + 1) * ROW_EMS:.2f}em"
    return tag("div", *frames, class_="flame", role="img", aria_label=f"Flame graph of {subject}", style=height)


def _placed(node: FlameNode, start: float) -> list[tuple[FlameNode, float]]:
    """Return the inner frames of a frame, widest first, each with its first sample."""
    placed, at = [], start
    for child in sorted(node.inner.values(), key=lambda inner: -inner.count):
        placed.append((child, at))
        at += child.count
    return placed


def kind(frame: str) -> str:
    """Return the colour class of a frame, by the package of its file."""
    if "(" not in frame:
        return "plain"
    file = frame.rpartition("(")[2]
    for name, starts in _KINDS:
        if any(part in file for part in starts):
            return name
    module = file.rstrip(")").split("/")[0].removesuffix(".py")
    return "plain" if module in sys.stdlib_module_names else "own"
