from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from devices.problems import MAX_SHOWN
from devices.strict_yaml import InputError, Problem, did_you_mean, parse_document, parse_value, read_document, validate

STRICT = ConfigDict(extra="forbid", strict=True)


def problems(text: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        parse_document(text, "a.yaml")
    return str(caught.value).splitlines()


# ---- reading


def test_scalars_follow_the_core_schema_of_yaml_1_2() -> None:
    # Sections 10.2 and 10.3 of the specification; 1.1 would read yes, 012, 1_000 and 1:30 as other things.
    values = parse_value("[5e-5, 1., .5, -3, 0o17, 0x1F, 012, true, False, null, ~, yes, 1_000, 1:30, '1', -]")

    assert values == [5e-5, 1.0, 0.5, -3, 15, 31, 12, True, False, None, None, "yes", "1_000", "1:30", "1", "-"]
    assert [type(value) for value in values[:4]] == [float, float, float, int]


def test_a_document_knows_the_line_of_every_key_and_item() -> None:
    document = parse_document("# note\na: 1\nb:\n  - x\n  - c: 2\n", "a.yaml")

    assert document.data == {"a": 1, "b": ["x", {"c": 2}]}
    assert document.lines == {(): 2, ("a",): 2, ("b",): 3, ("b", 0): 4, ("b", 1): 5, ("b", 1, "c"): 5}


@given(
    st.dictionaries(
        st.text("abc-_ é:#'\"", min_size=1),
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(-(2**63), 2**64 - 1),
            st.floats(allow_nan=False, allow_infinity=False),
            st.lists(st.integers(0, 9)),
            st.text("ab: #{}[],&*!|>'\"%@`\\", max_size=8),
        ),
        min_size=1,
    )
)
def test_json_is_read_as_json_means_it(data: dict[str, object]) -> None:
    import json

    # JSON is a subset of YAML 1.2; json writes 1e+16, which the core schema calls a float too.
    assert parse_document(json.dumps(data), "a.yaml").data == data


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "a.yaml:3: a: this key is given twice (first in line 1)"),
        ("s:\n  a: 1\n  a: 1", "a.yaml:3: s.a: this key is given twice (first in line 2)"),
        ("a: &x 1", "a.yaml:1: a: anchors are not allowed (&x)"),
        ("a: *x", "a.yaml:1: a: aliases are not allowed (*x); write the value out"),
        (
            "a: !!python/object:os.system 1",
            "a.yaml:1: a: tags are not allowed (tag:yaml.org,2002:python/object:os.system)",
        ),
        ("a: !!str 1", "a.yaml:1: a: tags are not allowed (tag:yaml.org,2002:str)"),
        ("a: !mine {b: 1}", "a.yaml:1: a: tags are not allowed (!mine)"),
        ("a:\n- .nan", "a.yaml:2: a.0: a number must be finite, got .nan"),
        ("a: -.inf", "a.yaml:1: a: a number must be finite, got -.inf"),
        ("a: 1e999", "a.yaml:1: a: a number must be finite, got 1e999"),
        ("a: 18446744073709551616", "a.yaml:1: a: a whole number must fit in 64 bits, got 18446744073709551616"),
        ("1: a", "a.yaml:1: a key must be text; write '1' in quotes"),
        ("[1, 2]: a", "a.yaml:1: a key must be text"),
        ("- a", "a.yaml:1: expected a mapping (`key: value` lines) at the top level"),
        ("plain", "a.yaml:1: expected a mapping (`key: value` lines) at the top level"),
        ("", "a.yaml: the file is empty"),
        ("# only a comment\n", "a.yaml: the file is empty"),
        ("a: 1\n---\nb: 2", "a.yaml:2: more than one document in a file; remove the '---'"),
        ("%YAML 1.1\n---\na: 1", "a.yaml:2: this is read as YAML 1.2; remove the %YAML directive"),
    ],
)
def test_a_refusal_names_file_line_and_key(text: str, message: str) -> None:
    assert problems(text) == [message]


def test_all_refusals_of_a_file_are_told_at_once() -> None:
    assert problems("a: .nan\nb: *x\na: !t 1\n") == [
        "a.yaml:1: a: a number must be finite, got .nan",
        "a.yaml:2: b: aliases are not allowed (*x); write the value out",
        "a.yaml:3: a: this key is given twice (first in line 1)",
        "a.yaml:3: a: tags are not allowed (!t)",
    ]


def test_reading_stops_when_a_file_is_wrong_throughout() -> None:
    assert len(problems("a: 1\n" * 100_000)) == MAX_SHOWN


def test_an_alias_bomb_is_refused_without_being_expanded() -> None:
    bomb = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 15))

    assert "anchors are not allowed (&a0)" in problems(bomb)[0]  # 9^14 entries if it were


@pytest.mark.parametrize(("opening", "line"), [("[", 1), ("{a: ", 1), ("\n- ", 21)])
def test_nesting_is_refused_beyond_twenty_levels(opening: str, line: int) -> None:
    # The mapping `a` is level 1, so twenty openings below it make 21.
    text = "a: " + ("".join(f"\n{' ' * level}-" for level in range(1, 60)) if "-" in opening else opening * 5_000)

    assert problems(text)[0].startswith(f"a.yaml:{line}: ")
    assert "nested more than 20 levels deep" in problems(text)[0]


def test_twenty_levels_are_allowed() -> None:
    assert parse_document("a: " + "[" * 19 + "]" * 19, "a.yaml").data["a"] is not None


def test_a_syntax_error_has_its_line() -> None:
    assert problems("a: 1\nb: [1, 2\nc: 3\n") == ["a.yaml:3: not valid YAML: expected ',' or ']', but got ':'"]
    assert problems("a: \x07")[0].startswith("a.yaml: not valid YAML: ")


def test_a_huge_whole_number_is_refused_before_it_is_converted() -> None:
    assert problems("a: " + "9" * 5_000) == [f"a.yaml:1: a: a whole number must fit in 64 bits, got {'9' * 40}..."]


def test_files_that_cannot_be_data_are_refused(tmp_path: Path) -> None:
    big, latin, folder = tmp_path / "big.yaml", tmp_path / "latin.yaml", tmp_path / "folder"
    big.write_text("a: 1\n" + "#" * 1_000_000)
    latin.write_bytes(b"a: 1\nb: caf\xe9\n")
    folder.mkdir()

    for path, message in [
        (big, f"{big}: larger than 1 MB"),
        (latin, f"{latin}:2: not UTF-8 text"),
        (folder, f"{folder}: cannot be read: "),
        (tmp_path / "none.yaml", f"{tmp_path / 'none.yaml'}: cannot be read: No such file"),
    ]:
        with pytest.raises(InputError, match="^" + message.replace("\\", "\\\\")):
            read_document(path)


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")

    assert read_document(path).data == {"a": 1}


def test_a_value_of_the_command_line_is_refused_like_one_of_a_file() -> None:
    assert parse_value("5e-5") == 5e-5
    assert parse_value("") is None
    assert parse_value("{a: 1}") == {"a": 1}
    with pytest.raises(InputError, match=r"^a number must be finite, got \.nan$"):
        parse_value(".nan")
    with pytest.raises(InputError, match="not valid YAML"):
        parse_value("[1, 2")


# ---- checking against a model


def no_slash(name: str) -> str:
    if "/" in name:
        msg = f"'{name}' must not contain a slash"
        raise ValueError(msg)
    return name


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Fixed:
    kind: Literal["fixed"] = "fixed"
    cut: Annotated[int, Field(ge=1)] = 2


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Adaptive:
    kind: Literal["adaptive"] = "adaptive"
    fixed: float = 0.5  # also the name of the other kind


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Source:
    source: str
    column: str = "text"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Plan:
    name: Annotated[str, AfterValidator(no_slash)] = "x"
    rounds: int = 1
    rate: float = 0.1
    loud: bool = False
    side: Literal["both", "client"] = "both"
    policy: Annotated[Fixed | Adaptive, Field(discriminator="kind")] = Field(default_factory=Fixed)
    dataset: str | Source = "pydocs"
    fallback: Source | None = None
    limit: Annotated[int, Field(gt=0)] | Literal["auto"] = "auto"
    policies: tuple[Annotated[Fixed | Adaptive, Field(discriminator="kind")], ...] = ()
    targets: dict[str, tuple[float, ...]] = Field(default_factory=dict)


def refused(text: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        validate(Plan, parse_document(text, "p.yaml"))
    return str(caught.value).splitlines()


def test_a_valid_document_becomes_the_frozen_model() -> None:
    text = (
        "rounds: 3\nrate: 1\npolicy: {kind: adaptive, fixed: 1}\npolicies: [{kind: fixed}]\ntargets: {loss: [2, 1.5]}\n"
    )

    plan = validate(Plan, parse_document(text, "p.yaml"))

    assert plan == Plan(
        rounds=3, rate=1.0, policy=Adaptive(fixed=1.0), policies=(Fixed(),), targets={"loss": (2.0, 1.5)}
    )
    assert isinstance(plan.policies, tuple)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rounds: x", "p.yaml:1: rounds: expected a whole number, got 'x'"),
        ("rounds: 2.5", "p.yaml:1: rounds: expected a whole number, got 2.5"),
        ("rounds: true", "p.yaml:1: rounds: expected a whole number, got true"),
        ("rounds: '3'", "p.yaml:1: rounds: expected a whole number, got '3'"),
        ("rate: fast", "p.yaml:1: rate: expected a number, got 'fast'"),
        ("rate:", "p.yaml:1: rate: expected a number, got null"),
        ("loud: yes", "p.yaml:1: loud: expected true or false, got 'yes'"),
        ("name: 3", "p.yaml:1: name: expected text, got 3"),
        ("name: a/b", "p.yaml:1: name: 'a/b' must not contain a slash"),
        ("side: clint", "p.yaml:1: side: expected 'both' or 'client', got 'clint'; did you mean 'client'?"),
        ("side: [1]", "p.yaml:1: side: expected 'both' or 'client', got a list"),
        ("policies: 3", "p.yaml:1: policies: expected a list, got 3"),
        ("targets: {loss: 3}", "p.yaml:1: targets.loss: expected a list, got 3"),
        ("targets: {loss: [1, x]}", "p.yaml:1: targets.loss.1: expected a number, got 'x'"),
        # unknown keys say what is allowed where they stand
        (
            "fallback: {source: a, colum: b}",
            "p.yaml:1: fallback.colum: unknown key; allowed: source, column; did you mean 'column'?",
        ),
        (
            "policies:\n- {kind: fixed, cutt: 1}",
            "p.yaml:2: policies.0.cutt: unknown key; allowed: kind, cut; did you mean 'cut'?",
        ),
        ("fallback: {}", "p.yaml:1: fallback.source: this key is required"),
        # sections with a kind: the name of the kind is no part of the key, even where a key has the same name
        (
            "policy: {kind: fixd}",
            "p.yaml:1: policy.kind: unknown kind 'fixd'; allowed: fixed, adaptive; did you mean 'fixed'?",
        ),
        ("policy: {cut: 2}", "p.yaml:1: policy.kind: this key is required: it says which kind of section is meant"),
        ("policy: fixed", "p.yaml:1: policy: expected a mapping, got 'fixed'"),
        ("policy:\n  kind: fixed\n  cut: 0", "p.yaml:3: policy.cut: expected a number of at least 1, got 0"),
        ("policy: {kind: adaptive, fixed: x}", "p.yaml:1: policy.fixed: expected a number, got 'x'"),
        # one value that may be several things gives one problem
        ("dataset: 5", "p.yaml:1: dataset: expected text or a mapping, got 5"),
        ("dataset: {source: 1}", "p.yaml:1: dataset.source: expected text, got 1"),
        ("dataset: {source: a, split: b}", "p.yaml:1: dataset.split: unknown key; allowed: source, column"),
        ("limit: 0", "p.yaml:1: limit: expected a number greater than 0 or 'auto', got 0"),
        ("limit: atuo", "p.yaml:1: limit: expected a whole number or 'auto', got 'atuo'; did you mean 'auto'?"),
    ],
)
def test_a_violation_is_told_in_words_at_its_line_and_key(text: str, message: str) -> None:
    assert refused(text) == [message]


def test_an_unknown_key_at_the_top_lists_the_allowed_ones() -> None:
    (message,) = refused("round: 3")

    assert message.startswith("p.yaml:1: round: unknown key; allowed: name, rounds, rate, loud, ")
    assert message.endswith("; did you mean 'rounds'?")


def test_all_violations_are_told_at_once_in_the_order_of_the_file() -> None:
    lines = refused("rate: x\nextra: 1\npolicy:\n  cut: 0\n  kind: fixed\nrounds: 1.5\n")

    assert [line.split(":")[1] for line in lines] == ["1", "2", "4", "6"]


def test_a_problem_carries_its_parts() -> None:
    with pytest.raises(InputError) as caught:
        validate(Plan, parse_document("\npolicy: {kind: fixed, cut: 0}", "p.yaml"))

    assert caught.value.problems == (
        Problem("expected a number of at least 1, got 0", file="p.yaml", line=2, key="policy.cut", value=0),
    )


def test_a_message_shows_a_bounded_number_of_problems_and_of_characters() -> None:
    many = InputError(*[Problem(str(number)) for number in range(MAX_SHOWN + 7)])

    assert str(many).splitlines()[-1] == "... and 7 more problems"
    assert len(many.problems) == MAX_SHOWN + 7
    assert len(refused(f"rounds: {'x' * 5000}")[0]) < 150


def test_the_nearest_word_is_suggested_or_none() -> None:
    assert did_you_mean("rpi6", ["rpi5", "t4"]) == "; did you mean 'rpi5'?"
    assert did_you_mean("RPI5", ["rpi5", "t4"]) == "; did you mean 'rpi5'?"
    assert did_you_mean("rpi6", ["rpi4-8gb", "rpi5-8gb", "rtx-3060"]) == "; did you mean 'rpi5-8gb'?"
    assert did_you_mean("cut", ["initial_cut", "cut"]) == "; did you mean 'cut'?"
    assert did_you_mean("rtx3060", ["rtx-3060-12gb", "rtx-3090"]) == "; did you mean 'rtx-3060-12gb'?"
    assert did_you_mean("rtx_3060", ["rtx-3090", "rtx-3060-12gb"]) == "; did you mean 'rtx-3060-12gb'?"
    assert did_you_mean("x", []) == ""
    assert did_you_mean("zebra", ["rpi5", "t4"]) == ""
