"""Damage to the content of files, drawn by hypothesis: see tests/test_readers.py.

A test draws a few examples. With ``AEPRETRAIN_FUZZ_SECONDS=600`` each draws for ten minutes, and prints their number.
"""

import copy
import json
import os
import time

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from aepretrain.errors import AEPretrainError

SECONDS = float(os.environ.get("AEPRETRAIN_FUZZ_SECONDS", "0"))
DEEP = json.loads("[" * 60 + "]" * 60)
SCALARS = (
    st.none() | st.booleans() | st.integers(-3, 10) | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from([10**12, -1, 2**63, 2**64, 10**400, 1e308, -0.0])
    | st.sampled_from(["", "../x", "/dev/zero", "a\x1b[31mb", "<b>", "\ud800"])
)  # fmt: skip
ANYTHING = st.recursive(
    SCALARS | st.just(DEEP),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def fuzz(strategy, check, *, examples=25):
    """Check drawn values, a few of them or for as long as the environment says; returns their number.

    Args:
        strategy: What is drawn.
        check: Called with every value.
        examples: Number of values without a time.
    """
    end, count = time.monotonic() + SECONDS, 0

    def counted(value):
        nonlocal count
        if not SECONDS or time.monotonic() < end:
            count += 1
            check(value)

    for number in range(10**6):
        run = settings(
            max_examples=200 if SECONDS else examples, deadline=None, database=None,
            suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink],
        )(given(strategy)(counted))  # fmt: skip
        (seed(number) if SECONDS else lambda test: test)(run)()
        if time.monotonic() >= end:
            break
    if SECONDS:
        print(f"{count:,} examples", flush=True)
    return count


def refusal(act, *arguments):
    """The error of ours that a call raises; ``None`` if it raises none. Errors of another kind pass."""
    try:
        act(*arguments)
    except AEPretrainError as error:
        return error
    return None


def places(value, path=()):
    """The paths of all values in nested dictionaries and lists, the whole among them."""
    yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield from places(entry, (*path, key))


@st.composite
def changed(draw, valid):
    """Plain values in which one to three are replaced, removed, repeated or renamed."""
    value = copy.deepcopy(valid)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(places(value))))
        if not path:
            if draw(st.integers(0, 30)) == 0:
                value = copy.deepcopy(draw(ANYTHING))
            continue
        part = value
        for key in path[:-1]:
            part = part[key]
        change = draw(st.sampled_from(["put", "put", "put", "leave out", "more"]))
        if change == "put":
            part[path[-1]] = copy.deepcopy(draw(ANYTHING))
        elif change == "leave out":
            del part[path[-1]]
        elif isinstance(part, list):
            part.append(copy.deepcopy(draw(ANYTHING | st.just(part[path[-1]]))))
        else:
            part[draw(st.text(max_size=6))] = copy.deepcopy(part[path[-1]])
    return value


def as_json(values):
    return values.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass"))


@st.composite
def damaged(draw, valid):
    """Bytes in which some are replaced, inserted, removed or repeated; also the beginning alone, or any bytes."""
    data = bytearray(valid)
    for _ in range(draw(st.integers(1, 4))):
        first = draw(st.integers(0, min(len(data), 400)) | st.integers(0, len(data)))
        size = draw(st.integers(0, 16))
        kind = draw(st.sampled_from(["replace", "replace", "insert", "remove", "cut", "repeat"]))
        if kind == "replace":
            new = draw(st.binary(min_size=size, max_size=size))
            data[first : first + size] = new
        elif kind == "insert":
            data[first:first] = draw(st.binary(max_size=8))
        elif kind == "remove":
            del data[first : first + size]
        elif kind == "repeat":
            data[first:first] = data[first : first + size] * draw(st.integers(1, 5))
        elif draw(st.integers(0, 3)) == 0:
            del data[first:]
    return bytes(data)


def any_file(valid):
    """A damaged file, or any bytes."""
    return damaged(valid) | st.binary(max_size=40)
