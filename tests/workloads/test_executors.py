"""Which executor a scenario and a kind of device get."""

import pytest

from workloads.executors import ExecutorChoice, ExecutorName, pick_executor


@pytest.mark.parametrize(
    ("choice", "device", "step_tokens", "dropout", "expected"),
    [
        ("auto", "cpu", 512, 0.0, "fused"),
        ("auto", "cpu", 513, 0.0, "sequential"),
        ("auto", "cuda:0", 100_000, 0.0, "fused"),
        ("auto", "cuda:1", 4, 0.1, "sequential"),
        ("fused", "cpu", 100_000, 0.0, "fused"),
        ("fused", "cuda:0", 4, 0.1, "sequential"),
        ("sequential", "cuda:0", 4, 0.0, "sequential"),
    ],
)
def test_scenario_and_kind_of_device_decide(
    choice: ExecutorChoice, device: str, step_tokens: int, dropout: float, expected: ExecutorName
) -> None:
    assert pick_executor(choice, device, step_tokens=step_tokens, dropout=dropout) == expected


def test_a_rule_whose_steps_need_each_other_leaves_no_choice() -> None:
    assert pick_executor("fused", "cuda:0", step_tokens=4, dropout=0.0, one_by_one=True) == "sequential"
