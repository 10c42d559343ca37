"""Whatever a config holds: it is accepted, or refused in one line with the right code; never a traceback."""

import copy

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aepretrain.cli.main import main

VALID = {
    "data": {"class_path": "Digits", "init_args": {"labels": 100}},
    "layers": [
        {
            "class_path": "DenoisingAutoencoder",
            "init_args": {
                "coder": {"class_path": "Dense", "init_args": {"features": 8, "activation": "sigmoid"}},
                "corruption": {"class_path": "Masking", "init_args": {"p": 0.25}},
                "likelihood": "Bernoulli",
                "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.001}},
            },
        }
    ],
    "pretrain": {"epochs": 2, "batch_size": 32},
    "classifier": {"dropout": 0.5},
    "finetune": {"epochs": 4, "patience": 2},
    "trainer": {"precision": "32-true"},
    "compare": {"seeds": 3, "labels": [50, None], "grid": {"finetune.epochs": [2, 4]}},
    "seed": 1,
}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats() | st.text(max_size=12)
    | st.sampled_from(["os.system", "Dense", "nan", "1e999", "../..", "!!python/object:os.system", "layers"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=8), inner, max_size=2),
    max_leaves=5,
)  # fmt: skip
FUZZ = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def places(value, path=()):
    """The paths of all values in nested dictionaries and lists."""
    if path:
        yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield from places(entry, (*path, key))


def check(path, capsys):
    code = main(["validate", "--config", str(path)])
    complaint = capsys.readouterr().err.strip()
    assert code in (0, 2, 3), complaint
    assert code == 0 or (complaint.startswith("aepretrain: error: ") and len(complaint.splitlines()) == 1)


@FUZZ
@given(data=st.data())
def test_any_value_in_any_place_is_accepted_or_refused_in_one_line(tmp_path, capsys, data):
    config = copy.deepcopy(VALID)
    *above, last = data.draw(st.sampled_from(list(places(VALID))))
    part = config
    for key in above:
        part = part[key]
    change = data.draw(st.sampled_from(["put", "leave out", "rename"]))
    if change == "put":
        part[last] = data.draw(ANYTHING)
    elif change == "leave out" or isinstance(part, list):
        del part[last]
    else:
        part[data.draw(st.text(max_size=10))] = part.pop(last)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    check(path, capsys)


@FUZZ
@given(content=st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_refused_in_one_line(tmp_path, capsys, content):
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    check(path, capsys)
