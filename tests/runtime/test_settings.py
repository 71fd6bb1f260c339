from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from smidgen.runtime.command_line import compose_config
from smidgen.runtime.errors import UserError
from smidgen.runtime.settings import PathText, user_path

# Every one of them is a file's name, or a label that somebody might choose.
TEXTS = (
    *("2026_01_05", "1e3", "1.10", "007", "0x10", "1_000", "true", "False", "nan", "inf", "-1", "NULL", "None"),
    *("/home/josé/lift", "\U0001f600", "\udce9", "a=b", "=", ",", "a,b", "(", "f(x)", "&", "'", '"', "'a'", '"a"', "#"),
    *("$", "${x}", "${oc.env:HOME}", "???", "{a}", "{a:1}", "[a]", "\\", "\\${x}", "a\\,b", " a", "a ", " ", "a\nb"),
    *("a:b", "@x", "%d", "*", "a/~", "x" * 2000, "range(1,3)", "!", "\t", "--help", "-"),
)


@dataclass(frozen=True)
class Inner:
    label: str = "inner"
    size: int = 3


@dataclass(frozen=True)
class Example:
    text: str
    out: PathText
    name: str | None = None
    page: PathText | None = "page.md"
    empty: PathText = ""
    arms: tuple[str, ...] = ()
    words: list[str] = field(default_factory=list)
    steps: int = 1
    lr: float = 1.0
    flag: bool = False
    bands: int | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    seeds: tuple[int, ...] = ()
    inner: Inner = field(default_factory=lambda: Inner(size=5))


def read(*settings: str) -> Example:
    return compose_config(Example, ["text=t", "out=o", *settings])


@pytest.mark.parametrize("text", TEXTS)
def test_text_is_taken_as_it_stands(text: str) -> None:
    assert read(f"text={text}").text == text
    assert read(f"name={text}").name == text
    assert read(f"out={text}").out == text
    assert read(f"inner.label={text}").inner == Inner(text, 5)


@pytest.mark.parametrize("text", [text for text in TEXTS if text.strip() == text and not set(text) & set("'\",")])
def test_elements_of_a_list_of_text_are_taken_as_they_stand(text: str) -> None:
    assert read(f"arms=[{text}]").arms == (text,)
    assert read(f"arms=[a, {text} ,'{text},x']").arms == ("a", text, f"{text},x")


def test_null_is_none_where_a_field_may_be_none() -> None:
    assert (read("name=null").name, read("page=null").page) == (None, None)
    assert (read("text=null").text, read("out=null").out) == ("null", "null")


def test_a_leading_tilde_expands_in_paths_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert (read("out=~/x").out, read("page=~").page) == ("/home/ada/x", "/home/ada")
    assert (read("text=~/x").text, read("name=~x").name) == ("~/x", "~x")
    assert (read("out=a/~/x").out, read("out=~nobody-here/x").out) == ("a/~/x", "~nobody-here/x")
    assert user_path("~/x") == Path("/home/ada/x")


def test_an_empty_path_is_a_shells_empty_variable() -> None:
    assert (read("text=").text, read("empty=").empty) == ("", "")
    for key in ("out", "page"):
        with pytest.raises(UserError, match=f"^{key}=: expected a path, got nothing"):
            read(f"{key}=")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("steps=1_000", 1000),
        ("steps=-3", -3),
        ("lr=1e-3", 0.001),
        ("lr=2", 2.0),
        ("lr=inf", float("inf")),
        ("flag=TRUE", True),
        ("flag=no", False),
        ("bands=null", None),
        ("bands=4", 4),
        ("betas=[0.1, 0.2]", (0.1, 0.2)),
        ("seeds=[]", ()),
        ("seeds=[1,2]", (1, 2)),
        ("arms=[]", ()),
        ("""arms=["a,b",'c']""", ("a,b", "c")),
    ],
)
def test_numbers_booleans_and_lists_keep_their_grammar(setting: str, value: object) -> None:
    found = getattr(read(setting), setting.partition("=")[0])
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        *((f"steps={bad}", "a whole number") for bad in ("abc", "1e3", "1.5", "", "nan", "1,2", "[1]", "${lr}", "???")),
        *((f"steps={bad}", "a whole number") for bad in ("9" * 400, "true", "range(1,3)", "{a:1}", "(", "null")),
        *((f"lr={bad}", "a number") for bad in ("abc", "nan", "", "0.5.1", "1e", "9" * 400, "${steps}")),
        *((f"flag={bad}", "true or false") for bad in ("maybe", "2", "1", "")),
        ("bands=x", "a whole number or null"),
        *((f"betas={bad}", r"a list of 2 numbers, e.g. \[0.5,0.5\]") for bad in ("0.9", "[0.9]", "[a,b]", "[0.9,nan]")),
        *(
            (f"seeds={bad}", r"a list of whole numbers, e.g. \[1,2\]")
            for bad in ("1", "[1.5]", "[null]", "[[1]]", "[1")
        ),
        ("arms=raw", r"a list, e.g. arms=\[raw\]"),
        ("words=[a", r"a list, e.g. words=\[a\]"),
    ],
)
def test_a_bad_value_is_one_line_that_says_what_was_expected(setting: str, expected: str) -> None:
    with pytest.raises(UserError, match=f": expected {expected}$"):
        read(setting)


@pytest.mark.parametrize("setting", ["arms=[a,,b]", "text=a\0b", "out=a\0b"])
def test_what_no_name_can_be_is_refused(setting: str) -> None:
    with pytest.raises(UserError, match=r"is empty|NUL"):
        read(setting)


@pytest.mark.parametrize(
    ("words", "written"),
    [
        (["--steps", "3"], "steps=3"),
        (["--steps=3"], "steps=3"),
        (["-steps", "3"], "steps=3"),
        (["--out-dir", "a b"], "out=a b"),
        (["--learning-rate", "1e-3"], "lr=1e-3"),
        (["steps", "3"], "steps=3"),
        (["steps", "=", "3"], "steps=3"),
        (["steps=", "3"], "steps=3"),
        (["steps", "=3"], "steps=3"),
        (["--flag"], "flag=..."),
        (["--flag", "--steps"], "flag=..."),
    ],
)
def test_options_as_other_programs_take_them_are_answered_with_the_form(words: list[str], written: str) -> None:
    with pytest.raises(UserError, match=f"expected key=value, got .*; write {written}$"):
        read(*words)


@pytest.mark.parametrize("word", ["lift", "--", "-x", "=", "=3", "--nothing-like-it"])
def test_a_word_that_resembles_no_key_points_to_help(word: str) -> None:
    with pytest.raises(UserError, match=r"expected key=value, got .*; --help lists the keys"):
        read(word)


@pytest.mark.parametrize("word", ["-m", "--multirun"])
def test_what_replaces_hydras_multirun_is_said(word: str) -> None:
    with pytest.raises(UserError, match=f"there is no {word}: run the command once for each value"):
        read(word, "lr=1e-3,3e-3")


@pytest.mark.parametrize(
    ("key", "meant"),
    [("learning_rate", "lr"), ("epochs", "steps"), ("output_dir", "out"), ("run_name", "name"), ("STEPS", "steps")],
)
def test_what_a_key_is_called_elsewhere_is_understood(key: str, meant: str) -> None:
    with pytest.raises(UserError, match=rf"unknown key '{key}' \(did you mean '{meant}'\?\); valid: "):
        read(f"{key}=1")


def test_no_other_key_is_proposed_for_a_word_that_means_something_else() -> None:
    with pytest.raises(UserError, match="unknown key 'num_workers'; valid"):
        read("num_workers=2")


def test_of_a_key_given_twice_the_last_counts() -> None:
    assert read("steps=1", "steps=2").steps == 2


def test_a_group_of_keys_has_no_value_of_its_own() -> None:
    with pytest.raises(UserError, match=r"'inner' has keys of its own: inner.label=..., inner.size=..."):
        read("inner=3")
