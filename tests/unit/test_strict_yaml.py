"""The one reader of YAML: a table of what is refused with its line, of what stays legal, and a property."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gen2reco.config.block import load_yaml, parse_yaml
from gen2reco.config.strict_yaml import MAX_BYTES
from gen2reco.errors import InputError

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n + 1}: &a{n + 1} [*a{n}, *a{n}]\n" for n in range(40))
MERGE_BOMB = "a0: &a0 {x: 1}\n" + "".join(f"a{n + 1}: &a{n + 1} {{<<: [*a{n}, *a{n}]}}\n" for n in range(40))

REFUSED = {
    "a key twice": ("a: 1\nb: 2\na: 3\n", "line 3: key `a` stands here and in line 1"),
    "a key twice in a block inside": ("a:\n  b: {c: 1, c: 2}\n", "line 2: key `c` stands here and in line 2"),
    "a merge key twice": ("a: &a {x: 1}\nb:\n  <<: *a\n  <<: *a\n", "line 4: key `<<`"),
    "octal": ("a:\n  events: 0100\n", "line 2: `events` = 0100 is no decimal number"),
    "octal of YAML 1.2": ("a: 0o17", "`a` = 0o17 is no decimal number"),
    "hexadecimal": ("a: [0x1F]", "`a` = 0x1F is no decimal number"),
    "binary": ("a: -0b101", "no decimal number"),
    "sexagesimal": ("a: 10:00", "`a` = 10:00 is no decimal number"),
    "sexagesimal of hours": ("a: 1:20:30.5", "no decimal number"),
    "grouped by underscores": ("a: 1_000", "no decimal number"),
    "a leading zero": ("a: 08.5e1", "no decimal number"),
    "as a key": ("010: a", "no decimal number"),
    "infinite": ("a: -.inf", "`a` = -.inf: expected a finite number"),
    "no number": ("a: .NaN", "expected a finite number"),
    "beyond a float": ("events: 1e400", "`events` = 1e400: expected a finite number"),
    "beyond 64 bits": ("a: 1" + "0" * 5000, "expected a whole number below 2^63"),
    "a tag": ("a: !!python/object/apply:os.system [ls]", "line 1: tag"),
    "a harmless tag": ("a: !!str 5", "line 1: tag"),
    "two documents": ("a: 1\n---\nb: 2\n", "line 2: a second document"),
    "a block as a key": ("? [a]\n: 1\n", "a block as a key"),
    "an alias of nothing": ("a: *b\n", "alias `*b`"),
    "an alias of itself": ("a: &a [*a]\n", "alias `*a`"),
    "aliases that explode": (BOMB, "values with its aliases written out"),
    "merges that explode": (MERGE_BOMB, "values with its aliases written out"),
    "flow nesting": ("[" * 100_000, "deep"),
    "block nesting": ("- " * 100_000, "deep"),
    "a merge of a number": ("a: {<<: 3}", "`<<` merges blocks"),
    "no end": ("a: [1, 2\n", "line 2: not valid YAML"),
    "a control character": ("a: \x07", "not valid YAML"),
    "half a character": ("a: \ud800", "not valid YAML"),
    "a long key": ("k" * 300 + ": 1", "a key of more than 200 characters"),
    "too large": ("a: " + "x" * MAX_BYTES, "expected at most"),
}

LEGAL = [
    ("a: 1\nb: {a: 2}\nc: {a: 3}\n", {"a": 1, "b": {"a": 2}, "c": {"a": 3}}),
    ("a: &x {b: 1, c: 2}\nd:\n  <<: *x\n  c: 3\n", {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}),
    ("a: &x {b: 1}\nd: {<<: [*x, {b: 2, e: 3}]}\n", {"a": {"b": 1}, "d": {"b": 1, "e": 3}}),
    ("a: [on, off, yes, no, y, n]", {"a": ["on", "off", "yes", "no", "y", "n"]}),
    ("a: [true, False, ~, null, '']", {"a": [True, False, None, None, ""]}),
    ("a: [0, -1, +2, 1., .5, 1e3, 1.5e-3, 0.0]", {"a": [0, -1, 2, 1.0, 0.5, 1000.0, 0.0015, 0.0]}),
    ("a: ['0100', \"10:00\", 2024-01-01, 1.2.3, 1:99]", {"a": ["0100", "10:00", "2024-01-01", "1.2.3", "1:99"]}),
    ("a: |\n  0100\n", {"a": "0100\n"}),
    ("\ufeffa: ü\n", {"a": "ü"}),
    ("", None),
]


@pytest.mark.parametrize("case", REFUSED)
def test_what_two_readers_take_for_different_things_is_one_line(case):
    text, message = REFUSED[case]
    with pytest.raises(InputError) as caught:
        parse_yaml(text, "mine.yaml")
    assert str(caught.value).startswith("mine.yaml: ") and message in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize(("text", "value"), LEGAL)
def test_what_stays_legal(text, value):
    assert parse_yaml(text, "mine.yaml") == value


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "is a folder, not a file"),
        (lambda path: path.symlink_to("/dev/zero"), "expected a regular file"),
        (lambda path: path.write_bytes(b"a: \xff"), "cannot be read as text"),
        (lambda path: path.write_text("- a"), "expected `key: value` pairs, found list"),
        (lambda path: path.write_text("a: 1\na: 2"), "line 2: key `a`"),
    ],
)
def test_files_that_are_no_block(tmp_path, make, message):
    make(tmp_path / "c.yaml")
    with pytest.raises(InputError, match=message):
        load_yaml(tmp_path / "c.yaml")


WORDS = st.text("abcxyz_ ü%'#:-0127.eo+", max_size=12).filter(lambda word: word.strip("+-.0127e") or not word)
PLAIN = st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    PLAIN | WORDS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3), max_leaves=8
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(value=VALUES, style=st.sampled_from([None, True, False]))
def test_what_pyyaml_writes_is_read_as_it_was(value, style):
    text = yaml.safe_dump(value, default_flow_style=style)
    try:
        assert parse_yaml(text, "mine.yaml") == value
    except InputError as error:  # words that one of the two YAML take for a number stand without quotes
        assert "no decimal number" in str(error) or "finite" in str(error)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(text=st.text("ab:- \n&*<{}[],'\"!?|>#%0179._e", max_size=40))
def test_any_text_is_a_value_or_one_line(text):
    try:
        parse_yaml(text, "mine.yaml")
    except InputError as error:
        assert "\n" not in str(error)
