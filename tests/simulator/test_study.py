"""A study's file is read strictly, and its cases are what it says."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.problems import InputError
from devices.strict_yaml import parse_value
from simulator.scenario import Scenario
from simulator.study import check_cases, load_study, quick_study, shipped_studies, template
from simulator.study_folder import StudyFolder
from simulator.vary import parse_vary, short, split_outside


def study_of(text, folder, changes=None):
    file = folder / "study.yaml"
    file.write_text(f"base: quickstart\n{text}")
    return load_study(file, changes)


def varied(study):
    return [dict(case.varied) for case in study.cases]


def test_a_grid_varies_its_first_key_slowest(tmp_path):
    study = study_of("vary: {policy.kind: [fixed, splitft], rounds: [1, 2]}", tmp_path)
    assert varied(study) == [
        {"policy.kind": "fixed", "rounds": 1},
        {"policy.kind": "fixed", "rounds": 2},
        {"policy.kind": "splitft", "rounds": 1},
        {"policy.kind": "splitft", "rounds": 2},
    ]
    assert [case.id for case in study.cases] == ["001", "002", "003", "004"]
    assert study.factors == ("policy.kind", "rounds")


def test_zipped_keys_vary_together_and_combine_with_the_grid(tmp_path):
    study = study_of("vary: {rounds: [1, 2]}\nzip: {server.slots: [1, 4], workload.batch_size: [2, 8]}", tmp_path)
    assert varied(study) == [
        {"rounds": rounds, "server.slots": slots, "workload.batch_size": size}
        for rounds in (1, 2)
        for slots, size in ((1, 2), (4, 8))
    ]


def test_listed_cases_are_taken_as_they_are(tmp_path):
    study = study_of("cases: [{rounds: 1}, {server.slots: 2, policy: {kind: fixed, cut: 3}}]", tmp_path)
    assert varied(study) == [{"rounds": 1}, {"server.slots": 2, "policy": {"kind": "fixed", "cut": 3}}]
    assert study.scenario(study.cases[1]).policy.cut == 3
    assert study.factors == ("rounds", "server.slots", "policy")


def test_seeds_start_at_the_scenarios_own_and_vary_fastest(tmp_path):
    study = study_of("set: {seed: {fleet: 5, data: 0, training: 7}}\nvary: {rounds: [1, 2]}\nseeds: 2", tmp_path)
    seeds = [study.scenario(case).seed for case in study.cases]
    assert [(seed.fleet, seed.data, seed.training) for seed in seeds] == [(5, 0, 7), (6, 1, 8)] * 2
    assert [case.seed for case in study.cases] == [7, 8, 7, 8]


def test_seeds_may_be_listed(tmp_path):
    study = study_of("seeds: [3, 11]", tmp_path)
    assert [study.scenario(case).seed.fleet for case in study.cases] == [3, 11]


def test_what_is_set_holds_in_all_cases_and_the_command_line_goes_before_it(tmp_path):
    study = study_of("set: {rounds: 3, server.slots: 2}\nseeds: 2", tmp_path, {"rounds": 5})
    scenarios = [study.scenario(case) for case in study.cases]
    assert [(scenario.rounds, scenario.server.slots) for scenario in scenarios] == [(5, 2)] * 2


def test_a_sample_is_drawn_from_the_grid_without_repetition_and_always_the_same(tmp_path):
    text = "vary: {rounds: [1, 2, 3, 4, 5], server.slots: [1, 2, 3, 4]}\nsample: 7"
    study = study_of(text, tmp_path)
    drawn = {(case.varied["rounds"], case.varied["server.slots"]) for case in study.cases}
    assert len(drawn) == len(study.cases) == 7
    assert varied(study_of(text, tmp_path)) == varied(study)


def test_a_sample_of_a_huge_grid_never_makes_the_grid(tmp_path):
    axes = ", ".join(f"k{number}: [{', '.join(map(str, range(100)))}]" for number in range(8))  # 1e16 combinations
    assert len(study_of(f"vary: {{{axes}}}\nsample: 5", tmp_path).cases) == 5


def test_a_case_is_the_single_run_with_the_same_overrides(tmp_path):
    study = study_of("vary: {fleet.mixture: [phones-2024]}\nset: {policy.kind: fixed}", tmp_path)
    alone = Scenario.load("quickstart", ["policy.kind=fixed", "fleet.mixture=phones-2024"])
    assert study.scenario(study.cases[0]) == alone


def test_the_quick_form_is_the_same_study(tmp_path):
    in_file = study_of("vary: {policy.kind: [fixed, splitft]}\nseeds: 3", tmp_path)
    quick = quick_study("quickstart", parse_vary(["policy.kind=fixed,splitft"]), seeds=3)
    assert quick.cases == in_file.cases


def test_a_study_read_back_from_its_folder_is_the_one_that_was_written(tmp_path):
    study = study_of("vary: {workload.optimizer.learning_rate: [1.0e-4, 2.0e-3]}\nseeds: 2", tmp_path)
    StudyFolder.create(tmp_path / "out", study, [])
    back = StudyFolder.open(tmp_path / "out")
    assert back.study.cases == study.cases
    assert [back.study.scenario(case) for case in back.study.cases] == [study.scenario(case) for case in study.cases]


def test_a_folder_that_cannot_be_written_whole_is_not_left(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("simulator.study_folder.write_atomic", full)
    with pytest.raises(OSError, match="No space left"):
        StudyFolder.create(tmp_path / "out", study_of("seeds: 2", tmp_path), [])
    assert not (tmp_path / "out").exists()


def test_a_base_is_found_beside_the_studys_file(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "own.yaml").write_text("rounds: 4\nfleet: {mixture: edge-lab, count: 2}\n")
    (tmp_path / "mine" / "study.yaml").write_text("base: own.yaml\nseeds: 2\n")
    monkeypatch.chdir(tmp_path)
    study = load_study("mine/study.yaml")
    assert study.scenario(study.cases[0]).rounds == 4
    assert study.base_folder == tmp_path / "mine"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a,b", ["a", "b"]),
        ("'a,b', c", ["'a,b'", "c"]),
        ("[1, 2],[3]", ["[1, 2]", "[3]"]),
        ("{kind: fixed, cut: 2},{kind: splitft}", ["{kind: fixed, cut: 2}", "{kind: splitft}"]),
        ("it's", ["it's"]),
        ("5e-5", ["5e-5"]),
    ],
)
def test_commas_part_values_only_outside_quotes_and_brackets(text, parts):
    assert split_outside(text) == parts


@given(st.lists(st.one_of(st.integers(-9, 9), st.booleans(), st.sampled_from(["a", "x y"])), min_size=1, max_size=5))
def test_values_that_are_joined_by_commas_come_back(values):
    joined = ",".join(f'"{value}"' if isinstance(value, str) else short(value) for value in values)
    assert [parse_value(part) for part in split_outside(joined)] == values


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("vary: {policy.kind: []}", "vary.policy.kind: expected a list of at least one value"),
        ("cases: []", "cases: expected a list of at least one case"),
        ("seeds: []", "seeds: expected at least one seed"),
        ("seeds: 0", "expected a number of at least 1"),
        ("zip: {rounds: [1, 2], server.slots: [1]}", "rounds has 2, server.slots has 1"),
        ("vary: {rounds: [1, 2]}\nsample: 3", "there are 2 combinations, of which 3 cannot be drawn"),
        ("vary: {rounds: [1]}\nzip: {rounds: [1]}", "'rounds' is given in 'vary' already"),
        ("vary: {rounds: [1]}\nset: {rounds: 1}", "'rounds' is given in 'set' already"),
        ("vary: {seed: [1, 2]}\nseeds: 2", "excludes 'seeds'"),
        ("vary: {rounds: [1, 2, 1]}", "case 003 (rounds=1, seed 0) is case 001 (rounds=1, seed 0)"),
        ("label: nothing", "nothing varies"),
        ("varies: {rounds: [1]}", "unknown key; allowed: "),
        ("vary: {rounds: 3}", "expected a list"),
        (f"vary: {{rounds: [{', '.join(map(str, range(1, 10_002)))}]}}", "10,001 cases are more than 10,000"),
    ],
)
def test_a_study_that_makes_no_sense_is_refused_with_its_place(text, said, tmp_path):
    with pytest.raises(InputError) as error:
        study_of(text, tmp_path)
    assert said in str(error.value)
    assert "study.yaml" in str(error.value)


@pytest.mark.parametrize("text", ["policy.kind", "=a", "rounds=", "rounds=[1", "rounds=1,2,"])
def test_a_malformed_vary_names_the_option(text):
    with pytest.raises(InputError, match="--vary") as error:
        quick_study("quickstart", parse_vary([text, "server.slots=1"]))
    assert "Traceback" not in str(error.value)


def test_every_bad_case_is_named_once_before_anything_runs(tmp_path):
    study = study_of("vary: {polcy.kind: [fixed], rounds: [1, 0]}\nseeds: 2", tmp_path)
    with pytest.raises(InputError) as error:
        check_cases(study, study.cases, lambda _scenario: None)
    unknown, too_few = error.value.problems
    assert "unknown key" in unknown.message
    assert "did you mean 'policy'" in unknown.message
    assert "[case 001 (polcy.kind=fixed, rounds=1, seed 0) and 3 more]" in unknown.message
    assert too_few.key == "rounds"
    assert "[case 003 (polcy.kind=fixed, rounds=0, seed 0) and 1 more]" in too_few.message


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ("set: {rounds: 2}\nvary:\n  server.slots: [1]\n  polcy.kind: [fixed]", "polcy", 5),
        ("zip:\n  polcy: [{kind: fixed}]", "polcy", 3),
        ("cases:\n  - {rounds: 1}\n  - {rounds: 2, polcy.cut: 1}", "polcy", 4),
        ("set:\n  rounds: 0\nvary: {server.slots: [1]}", "rounds", 3),
    ],
)
def test_a_problem_with_a_case_is_told_at_its_line_of_the_studys_file(text, key, line, tmp_path):
    study = study_of(text, tmp_path)
    with pytest.raises(InputError) as error:
        check_cases(study, study.cases, lambda _scenario: None)
    [problem] = error.value.problems
    assert (problem.file, problem.line, problem.key) == (str(tmp_path / "study.yaml"), line, key)


def test_a_problem_with_what_the_command_line_sets_or_varies_names_its_option():
    study = quick_study("quickstart", {"polcy": [1]}, set={"rounds": 0})
    with pytest.raises(InputError) as error:
        check_cases(study, study.cases, lambda _scenario: None)
    assert {problem.key: problem.file for problem in error.value.problems} == {"polcy": "--vary", "rounds": "--set"}
    with pytest.raises(InputError, match=r"^--set: rounds: 'rounds' is given in 'vary' already$"):
        quick_study("quickstart", {"rounds": [1]}, set={"rounds": 2})


@pytest.mark.parametrize(
    ("file", "name"),
    [("My Scénario", "my-sc-nario-sweep"), ("_x", "x-sweep"), ("日本", "study-sweep"), ("a" * 80, f"{'a' * 48}-sweep")],
)
def test_a_quick_study_has_a_name_whatever_the_scenarios_file_is_called(file, name, tmp_path):
    (tmp_path / f"{file}.yaml").write_text("fleet: {mixture: edge-lab, count: 2}\n")
    assert quick_study(str(tmp_path / f"{file}.yaml"), {"rounds": [1]}).name == name


def test_no_such_study_names_the_nearest(tmp_path, monkeypatch):
    monkeypatch.setattr("simulator.study.FOLDER", tmp_path)
    (tmp_path / "paper-cuts.yaml").write_text("base: quickstart\nseeds: 2\n")
    with pytest.raises(InputError, match="did you mean 'paper-cuts'"):
        load_study(Path("paper-cut"))


def test_the_template_is_a_study_as_it_stands_and_with_what_it_has_in_comments(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(template("mine"))
    study = load_study(file)
    assert (study.name, len(study.cases), study.factors) == ("mine", 6, ("policy.kind",))
    head, _, rest = template("mine").partition("set:")
    shown = [line.replace("# ", "", 1) if line.lstrip().startswith("# ") else line for line in rest.splitlines()[1:]]
    unwanted = ("policy.kind:", "policy:", "execution.trainer")  # `policy` overrides the kind, in another form of it
    kept = [line for line in shown if not line.strip().startswith(unwanted)]
    file.write_text(f"{head}set:\n" + "\n".join(kept))
    assert load_study(file).factors == (
        "server.slots",
        "fleet.mixture",
        "fleet.count",
        "workload.lora.cut_rank",
        "workload.codec.activations",
    )
    assert "new" not in shipped_studies()


def test_the_template_refuses_a_name_that_is_not_an_id():
    with pytest.raises(InputError, match=r"^'\.\./x' is no id"):
        template("../x")
