"""The YAML of configurations: PyYAML is the reference where it is installed."""

import contextlib
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minirep.files.yamltext import MAX_TEXT, parse

TEXT = """\
# a comment
NET:  # another
  DEPTHS:   # and another
  - - 3
  - - 4
  KERNELS:
  - - - 5
  - - - 21
  FLOW: [[[5]], [[21]], []]   # and one more
  MIXED:
    - [1, 2.5]
    - {a: 1, b: [x, 'y, z']}
    - # and another
      - 7
    - KEY: 1
      OTHER: two words
  EMPTY:
  QUOTED: 'it''s: # no comment'
  "DOUBLE": "a\\tb \\xe9 \\u00e9 \\"q\\""
  ON: true
  OFF: No
  NONE: ~
  NUMBERS: [1, -2, +3, 0.5, -1.0e-05, .5, 1., 007x, 1.2.3, 1_0]
  LONG: text that PyYAML
    folds over
    several lines
  LONG_LIST: [1, 2,
    3]
LAST: x
"""


def test_everything_at_once():
    assert parse(TEXT) == {
        "NET": {
            "DEPTHS": [[3], [4]],
            "KERNELS": [[[5]], [[21]]],
            "FLOW": [[[5]], [[21]], []],
            "MIXED": [[1, 2.5], {"a": 1, "b": ["x", "y, z"]}, [7], {"KEY": 1, "OTHER": "two words"}],
            "EMPTY": None,
            "QUOTED": "it's: # no comment",
            "DOUBLE": 'a\tb é é "q"',
            "ON": True,
            "OFF": False,
            "NONE": None,
            "NUMBERS": [1, -2, 3, 0.5, -1e-05, 0.5, 1.0, "007x", "1.2.3", "1_0"],
            "LONG": "text that PyYAML folds over several lines",
            "LONG_LIST": [1, 2, 3],
        },
        "LAST": "x",
    }


@pytest.mark.parametrize("text, value", [
    ("[1, # one\n 2,# two\n# three\n] # four", [1, 2]),
    ("", None), ("# only a comment", None), ("- 1\n- - 2\n  - 3", [1, [2, 3]]),
    ("a:\n- 1\nb: 2", {"a": [1], "b": 2}), ("a: x#y", {"a": "x#y"}),
    ("a:\r\n  b: 1\r\n", {"a": {"b": 1}}), ("a: {}", {"a": {}}), ("a: ''", {"a": ""}),
    ("a: 1\na: 2", {"a": 2}), ("- a: 1\n  b: 2\n- a: 3", [{"a": 1, "b": 2}, {"a": 3}]),
    ("{a: [1,\n 2]}\n", {"a": [1, 2]}), ("a: [1," + " " * 200 + "2]", {"a": [1, 2]}),
])  # fmt: skip
def test_values(text, value):
    assert parse(text) == value


@pytest.mark.parametrize("text", [
    "a: &x 1", "a: *x", "a: !tag 1", "a: |\n  x", "a: >\n  x", "--- 1\n--- 2", "a: [1, 2", "a: {b: 1", "a: {b}",
    "a: [1]]", "a: ]", "a: ,", "a: 'x", 'a: "x', "a: [', ]", "a: b: c", "just text", "a: 1\n   b: 2\n c: 3",
    "  a: 1\nb: 2", "a: 1\n- 2",
    "a:\n  - 1\n b: 2", "a: [a: b: c]", "a: [1 [2]]", "a: {b: ,}", "a: [,]", "?", "? a", "\x00", 'a: "\\U00ffffff"',
    "a: " + "[" * 100 + "]" * 100, "".join("  " * i + "a:\n" for i in range(100)), "- " * 1000, "x" * (MAX_TEXT + 1),
    "[" * 50_000, "a: {" * 1000, "a: [" + "'" * 9999,
])  # fmt: skip
def test_refused(text):
    """A ValueError soon, of one line."""
    start = time.process_time()
    with pytest.raises(ValueError) as caught:
        parse(text)
    assert len(str(caught.value).splitlines()) == 1 and len(str(caught.value)) < 200
    assert time.process_time() - start < 2


@given(st.text(alphabet="ab:-#'\"[]{},&\\ \n10.e", max_size=60) | st.text(max_size=40))
@example("- -\n-")
def test_any_text(text):
    try:
        parse(text)
    except ValueError as error:
        assert type(error) is ValueError


@pytest.mark.parametrize("text", [
    "- " * 30_000, "a: x\n" + "  y\n" * 16_000, "'" * 65_000, "a: " + '"\\' * 30_000, "a: [" + "1," * 32_000,
    "- 1\n" * 16_000,
    "a: [" + " " * 65_000, "a:" + " " * 65_000 + "#", " #" * 30_000, "a: " + " #" * 30_000, "a: '" + "''" * 30_000,
    "a: [" + "a:" * 30_000, "a: [" + ": " * 30_000, "a: " + "1" * 60_000, "a" * 65_000, "a: 1e" + "1" * 60_000,
])  # fmt: skip
def test_long_text_takes_no_time(text):
    start = time.process_time()
    with contextlib.suppress(ValueError):
        parse(text)
    assert time.process_time() - start < 2


# --- beside PyYAML ---------------------------------------------------------------------------------------------------

words = st.text(st.characters(min_codepoint=32, max_codepoint=0x17F, exclude_characters="\x7f\x85\xa0"), max_size=20)
keys = st.text(alphabet="ABCDEFG_1", min_size=1, max_size=8).filter(lambda key: not key[0].isdigit())
numbers = st.integers(-(10**17), 10**17) | st.floats(allow_nan=False, allow_infinity=False)
settings = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(keys, settings, max_size=5), st.sampled_from([False, None, True]), st.sampled_from([2, 4]))
def test_what_pyyaml_writes(value, flow, indent):
    yaml = pytest.importorskip("yaml")
    text = yaml.safe_dump(value, default_flow_style=flow, indent=indent, width=1 << 20)
    assert parse(text) == value


@given(st.dictionaries(keys, st.lists(st.lists(st.integers(0, 99), max_size=9), max_size=9), max_size=4))
def test_folded_lists(value):
    yaml = pytest.importorskip("yaml")
    for flow in (False, None, True):
        assert parse(yaml.safe_dump(value, default_flow_style=flow, width=40)) == value


def test_a_published_configuration():
    """In the form in which the authors' trainer stores it: lists with several dashes on a line, long text folded."""
    yaml = pytest.importorskip("yaml")
    value = {
        "AUDIO_DATA": {"CLIP_SECS": 5.119, "HOP_LENGTH": 10, "NUM_FRAMES": 512, "SAMPLING_RATE": 16000},
        "DATA": {"CHANNELS": [1], "PATH": "/data/a folder/" + "long name " * 20 + "x", "LIST": "", "RATE": 1e-07},
        "MODEL": {"MODEL_NAME": "AudioRepInceptionNeXt", "NUM_CLASSES": [97, 300], "MERGE_MODE": False},
        "RESNET": {"TEMP_KERNEL_SIZES": [[[5]], [[21]], [[21]]], "TIME_STRIDES": [[1], [2]], "PATTERN": [], "X": None},
    }  # fmt: skip
    assert parse(yaml.safe_dump(value)) == value
