"""The studies that come with splitft are ready to run."""

from dataclasses import replace

import pytest

import splitft
from simulator.scenario import Scenario
from simulator.setting import resolve
from simulator.study import check_cases, load_study, shipped_studies
from splitft.studies import check_metrics

QUICK = {"execution.trainer": "cost-only", "rounds": 1}


@pytest.mark.parametrize("name", shipped_studies())
def test_every_case_of_a_shipped_study_resolves_and_the_first_one_runs(name):
    study = load_study(name, QUICK)
    assert (study.name, bool(study.label)) == (name, True)
    check_metrics(study)
    settings = list[Scenario]()
    check_cases(study, study.cases, lambda scenario: settings.append(resolve(scenario).scenario))
    assert len(settings) == len(study.cases) > 1
    assert splitft.run(settings[0]).summary.num_rounds == 1


def test_the_papers_studies_are_there():
    assert {"paper-alpha", "paper-cuts", "paper-ranks"} <= set(shipped_studies())


@pytest.mark.parametrize("name", ["rank-or-codec", "stragglers-async"])
def test_a_study_of_the_clock_alone_sweeps_to_a_table_of_pairs(name, tmp_path):
    study = load_study(name, {"rounds": 1})
    first = tuple(case for case in study.cases if case.seed == 0)
    frame = splitft.sweep(replace(study, cases=first), tmp_path / "study", jobs=1).frame()
    assert len(frame) == len(first) > 1
    assert (frame[["simulated_s", "sent_bytes"]] > 0).all(axis=None)
    # Either has an axis that changes the time: the codec, or the wait for slow devices.
    assert frame["simulated_s"].nunique() > 1
