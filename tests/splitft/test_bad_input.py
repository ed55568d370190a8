"""Bad input as a user meets it: every problem at once, each at its file and line or at the override that set it."""

import os
from pathlib import Path

import pytest

from tests.splitft.told import places, told

MINE = """\
fleet:
  clients:
    - {device: rpi5-8gb, network: lan-1gbe}
    - {device: jetson-orin-nano-8gb, network: lan-1gbe, count: 2}
workload:
  model: tiny
  dataset: pydocs
  lora: {rank: 16, cut_rank: 8}
  partition:
    kind: iid
    min_samples: 8
policy:
  kind: fixed
  cut: 2
server:
  device: nvidia-a100-80gb-sxm
execution: {trainer: cost-only}
"""


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def fails(call, tmp_path):
    """Return a function that calls the command line, which must refuse its input, and returns standard error."""

    def fails(*arguments):
        before = set(tmp_path.rglob("*"))
        code, out, err = call(*arguments)
        assert (code, out) == (2, ""), err
        assert set(tmp_path.rglob("*")) == before
        return err

    return fails


def mine(*changes):
    """Write the scenario with pieces of its text exchanged."""
    text = MINE
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    Path("mine.yaml").write_text(text)
    return "mine.yaml"


# --- found when a scenario is resolved: each at its line, and in an override at --set

RESOLVED = [
    # what is exchanged in the file, its line there, the same as an override, the key, and how the message ends or goes
    (("cut: 2", "cut: 8"), 14, "policy.cut=8", "policy.cut", "a cut is from 1 to 7, got 8"),
    (
        ("device: rpi5-8gb", "device: rpi6-8gb"),
        3,
        "fleet.clients.0.device=rpi6-8gb",
        "fleet.clients.0.device",
        "rpi6-8gb",
    ),
    (("nvidia-a100-80gb-sxm", "nope"), 16, "server.device=nope", "server.device", "unknown device 'nope'"),
    (("model: tiny", "model: tine"), 6, "workload.model=tine", "workload.model", "unknown model 'tine'"),
    (("pydocs", "pydoc"), 7, "workload.dataset=pydoc", "workload.dataset.source", "dataset 'pydoc' is unknown"),
    (("pydocs", "a.txt"), 7, "workload.dataset=a.txt", "workload.dataset.source", "'a.txt' does not exist"),
    (("rank: 16,", "rank: 999,"), 8, "workload.lora.rank=999", "workload.lora.rank", "at most that, got 999"),
    (
        ("min_samples: 8", "min_samples: 9999"),
        11,
        "workload.partition.min_samples=9999",
        "workload.partition.min_samples",
        # 3 x 9,999; how many samples pydocs has is not this test's business
        "3 clients with at least 9,999 samples each need 29,997",
    ),
    (
        ("  model: tiny", "  dtype: bfloat16"),
        6,
        "workload.dtype=bfloat16",
        "workload.dtype",
        "device 'rpi5-8gb' has no peak_flops_per_s for bfloat16",
    ),
]


@pytest.mark.parametrize(("change", "line", "override", "key", "message"), RESOLVED, ids=[case[3] for case in RESOLVED])
def test_what_does_not_fit_is_told_at_its_line_or_its_override(change, line, override, key, message, fails):
    (problem,) = told(fails("check", mine(change)))
    assert (problem.place, problem.key) == (f"mine.yaml:{line}", key)
    assert message in problem.message
    (problem,) = told(fails("check", mine(), "--set", override))
    assert (problem.place, problem.key) == ("--set", key)
    assert message in problem.message


def test_everything_that_does_not_fit_is_told_at_once(fails):
    changes = [
        ("cut: 2", "cut: 99"),
        ("nvidia-a100-80gb-sxm", "nope"),
        ("pydocs", "nope"),
        ("device: rpi5-8gb", "device: zzz"),
    ]
    assert places(fails("run", mine(*changes))) == [
        ("mine.yaml:14", "policy.cut"),
        ("mine.yaml:3", "fleet.clients.0.device"),
        ("mine.yaml:16", "server.device"),
        ("mine.yaml:7", "workload.dataset.source"),
    ]


def test_overrides_and_lines_are_told_together_and_none_hides_another(fails):
    err = fails(
        "check",
        mine(("pydocs", "nope")),
        "--set",
        "workload.model=tine",
        "--set",
        "server.network=lan",
        "--set",
        "selection.min_clients=9",
    )
    assert places(err) == [
        ("--set", "workload.model"),
        ("--set", "server.network"),
        ("--set", "selection.min_clients"),
        ("mine.yaml:7", "workload.dataset.source"),
    ]


def test_an_unknown_mixture_is_told_once_at_its_key(fails):
    (problem,) = told(fails("check", mine(), "--set", "fleet.mixture=edge-lap"))
    assert (problem.place, problem.key) == ("--set", "fleet.mixture")
    assert problem.message.startswith("unknown fleet 'edge-lap'; did you mean 'edge-lab'?")


def test_an_unknown_member_of_a_mixture_is_told_at_the_line_of_the_mixtures_file(fails):
    Path("few.yaml").write_text(
        "type: fleet\nid: few\ndevices:\n  - {device: rpi6-8gb, weight: 1.0}\n"
        "networks: [{network: lan-1gbe, weight: 1.0}]\navailability: always-on\n"
    )
    (problem,) = told(fails("check", mine(), "--set", "fleet.mixture=few"))
    assert (problem.place.split("/")[-1], problem.key) == ("few.yaml:4", "devices.0.device")


def test_clients_that_lack_memory_are_told_of_once_where_the_fleet_is_and_one_at_the_group_that_has_its_device(fails):
    # 100,000 samples of 128 tokens at hidden size 160 in float32 take 8 GB for one tensor at the cut alone.
    err = told(fails("run", mine(), "--set", "workload.batch_size=100000"))
    assert [(p.place, p.key) for p in err] == [("mine.yaml:2", "fleet.clients"), ("mine.yaml:16", "server.device")]
    assert all("GiB" in problem.message for problem in err)
    alone = mine(("device: rpi5-8gb", "device: rtx-3060-12gb"))
    # 2,000 samples take more than the 4.8 GiB of a Jetson, and less than the 11.3 GiB of the other device
    (problem,) = told(fails("run", alone, "--set", "workload.batch_size=2000"))
    assert (problem.place, problem.key) == ("mine.yaml:4", "fleet.clients.1.device")


def test_a_shipped_scenario_is_named_without_lines_that_nobody_sees(fails):
    (problem,) = told(fails("check", "quickstart", "--set", "fleet.mixture=edge-lab", "--set", "fleet.count=20004"))
    assert (problem.place, problem.key) == ("quickstart", "workload.partition.min_samples")
    assert problem.message.endswith("clients are possible")


def test_what_an_override_breaks_in_a_shipped_scenario_is_the_overrides_doing(fails):
    (problem,) = told(fails("check", "quickstart", "--set", "workload.lora.rank=4"))
    assert (problem.place, problem.key) == ("--set", "workload.lora.cut_rank")
    assert problem.message == "must not exceed rank (4), got 8"


def test_a_device_that_nobody_has_is_refused_in_cuts_per_device(fails):
    err = fails(
        "check", mine(), "--set", "policy.kind=per-device", "--set", "policy.cuts={rpi5-8g: 3, jetson-orin-nano-8gb: 2}"
    )
    (problem,) = told(err)
    assert (problem.place, problem.key) == ("--set", "policy.cuts.rpi5-8g")
    assert problem.message == (
        "no client has the device 'rpi5-8g'; the fleet has rpi5-8gb, jetson-orin-nano-8gb; did you mean 'rpi5-8gb'?"
    )


# --- counts beyond all sense


@pytest.mark.parametrize(
    ("key", "most"),
    [
        ("workload.partition.num_classes", "10,000,000"),
        ("workload.local_steps", "100,000"),
        ("workload.batch_size", "100,000"),
        ("workload.max_length_tokens", "10,000,000"),
        ("fleet.clients.0.count", "10,000,000"),
        ("rounds", "10,000,000"),
    ],
)
def test_an_absurd_count_is_refused_with_its_bound(key, most, fails):
    (problem,) = told(fails("run", "quickstart", "--set", f"{key}=100000000000"))
    assert (problem.place, problem.key) == ("--set", key)
    assert problem.message == f"expected a number of at most {most}, got 100000000000"


# --- names


def test_a_name_that_is_shipped_means_what_is_shipped_whatever_lies_beside_the_scenario(call):
    for name in ("tiny", "pydocs", "gpt2"):
        Path(name).mkdir()
    code, out, err = call("check", mine(), "--set", "workload.priced_as=gpt2")
    assert (code, "tiny: llama, 8 blocks" in out) == (0, True), err


def test_what_lies_beside_the_scenario_is_meant_with_a_dot_or_by_a_name_of_its_own(fails):
    for name in ("tiny", "my-model"):
        Path(name).mkdir()
    for name in ("./tiny", "my-model"):
        (problem,) = told(fails("check", mine(), "--set", f"workload.model={name}"))
        assert (problem.place, problem.key) == ("--set", "workload.model")
        assert "holds no *.safetensors weights" in problem.message


# --- words


def test_an_empty_list_is_called_empty(fails):
    (problem,) = told(fails("check", "quickstart", "--set", "fleet.clients=[]"))
    assert (problem.key, problem.message) == ("fleet.clients", "expected a list of 1 or more, got an empty list")


def test_a_scenario_without_a_name_is_refused(fails):
    assert fails("run", "") == "error: expected the name of a shipped scenario or of a YAML file, got ''\n"


def test_nothing_is_suggested_for_a_word_that_is_like_nothing(fails):
    assert "did you mean" not in fails("devices", "show", "mine")
    assert "did you mean 'rpi5-8gb'?" in fails("devices", "show", "rpi6")


def test_a_new_file_of_an_unknown_kind_is_told_every_kind(fails):
    assert fails("new", "foo", "x").endswith("allowed: scenario, study, device, fleet, network\n")


# --- run folders


def test_a_run_folder_without_a_name_is_refused(fails):
    (problem,) = told(fails("run", mine(), "--out", ""))
    assert (problem.place, problem.message) == ("--out", "expected the name of a folder to make, got ''")


@pytest.mark.skipif(not os.access("/proc", os.W_OK), reason="only root is stopped no earlier than by the file system")
def test_a_run_folder_that_cannot_be_made_is_the_users_problem(fails):
    (problem,) = told(fails("run", mine(), "--out", "/proc/splitft-run"))
    assert problem.place == "--out"
    assert problem.message.startswith("/proc/splitft-run cannot be made: ")


# --- names that no file has


LONG = "a" * 300


@pytest.mark.parametrize(
    "key", ["workload.dataset.source", "workload.model", "workload.priced_as"], ids=lambda key: key.split(".")[1]
)
def test_a_name_that_no_file_can_have_is_told_at_its_key(key, fails):
    for value, message in ((LONG, "no file has so long a name: 'aaa"), ('"a\\0"', "expected text without a null ")):
        (problem,) = told(fails("check", mine(), "--set", f"{key}={value}"))
        assert (problem.place, problem.key) == ("--set", key)
        assert problem.message.startswith(message)


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "quickstart", "--out", LONG),
        ("run", "quickstart", "--catalogue", LONG),
        ("resume", LONG),
        ("compare", LONG, LONG),
        ("replay", LONG),
        ("export", LONG),
        ("sweep", LONG),
        ("models", "show", LONG),
    ],
    ids=lambda arguments: " ".join(arguments[:-1]),
)
def test_an_argument_that_no_file_can_be_called_is_bad_input(arguments, fails):
    assert "defect" not in fails(*arguments)


def test_half_a_character_is_refused_at_its_key(fails):
    (problem,) = told(fails("check", mine(("pydocs", '"\\ud800"'))))
    assert (problem.place, problem.key) == ("mine.yaml:7", "workload.dataset")
    assert problem.message == "half of a surrogate pair is no character"


# --- found when the user's own code is asked


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("exit()", "'decide' failed: SystemExit: None, line 2"),
        ("return 7", "'decide' returned what cannot be used: expected a Decision, got 7"),
    ],
)
def test_own_code_that_cannot_be_used_ends_a_run_as_bad_input(call, tmp_path, body, message):
    Path("code.py").write_text(f"def decide(*given):\n    {body}\n")
    code, out, err = call("run", mine(("kind: fixed\n  cut: 2", "kind: code.py:decide")), "--quiet", "--out", "run")
    assert (code, out, err) == (2, "", f"error: mine.yaml:13: policy.kind: {message} ({tmp_path}/code.py)\n")
