"""The command line as a user meets it: messages, exit codes, folders. In this process, so that it stays quick."""

import json
from importlib.metadata import version
from pathlib import Path

import pytest

import splitft
from tests.splitft.told import places, told

FLEET = "fleet: {clients: [{device: rpi5-8gb, network: lan-1gbe}]}\n"


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


# What is wrong, the file, where it is told (line and key), and words of the message: what was given, what is allowed.
BAD = [
    ("unknown key", FLEET + "round: 3\n", 2, "round", ["unknown key", "rounds"]),
    ("wrong type", FLEET + "rounds: many\n", 2, "rounds", ["a whole number", "'many'"]),
    ("duplicate key", FLEET + "rounds: 1\nrounds: 2\n", 3, "rounds", ["twice", "line 2"]),
    ("nan", FLEET + "workload: {optimizer: {learning_rate: .nan}}\n", 2, "workload.optimizer.learning_rate", [".nan"]),
    ("not a mapping", "- a\n- b\n", 1, "", ["a mapping"]),
    ("a name that climbs", FLEET + "name: ../x\n", 2, "name", ["an id", "'../x'"]),
    (
        "unknown device",
        "fleet: {clients: [{device: rpi6-8gb, network: lan-1gbe}]}\n",
        1,
        "fleet.clients.0.device",
        ["'rpi6-8gb'", "did you mean 'rpi5-8gb'"],
    ),
    (
        "unknown network",
        "fleet: {clients: [{device: rpi5-8gb, network: lan-2gbe}]}\n",
        1,
        "fleet.clients.0.network",
        ["'lan-2gbe'", "did you mean 'lan-1gbe'"],
    ),
    (
        "unusable network",
        "fleet: {clients: [{device: rpi5-8gb, network: lumos5g-4g-moving}]}\n",
        1,
        "fleet.clients.0.network",
        ["uplink_mbit_per_s"],
    ),
    ("unknown dataset", FLEET + "workload: {dataset: pydoc}\n", 2, "workload.dataset.source", ["'pydoc'", "pydocs"]),
    (
        "missing file",
        FLEET + "workload: {dataset: t.jsonl}\n",
        2,
        "workload.dataset.source",
        ["'t.jsonl'", "not exist"],
    ),
    ("unknown model", FLEET + "workload: {model: tine}\n", 2, "workload.model", ["'tine'", "did you mean 'tiny'"]),
    ("cut out of range", FLEET + "policy: {kind: fixed, cut: 8}\n", 2, "policy.cut", ["1 to 7", "got 8"]),
    ("too long", FLEET + "workload: {max_length_tokens: 1024}\n", 2, "workload.max_length_tokens", ["512", "got 1024"]),
    ("rank too large", FLEET + "workload: {lora: {rank: 512}}\n", 2, "workload.lora.rank", ["160", "got 512"]),
    (
        "too many clients for the text",
        "fleet: {mixture: edge-lab, count: 5000}\n",
        1,
        "workload.partition.min_samples",
        ["5,000 clients", "at least 8", "40,000"],
    ),
    (
        "dtype that a device lacks",
        FLEET + "workload: {dtype: bfloat16}\nexecution: {trainer: cost-only}\n",
        2,
        "workload.dtype",
        ["'rpi5-8gb'", "bfloat16"],
    ),
]


@pytest.mark.parametrize(("text", "line", "key", "words"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
@pytest.mark.parametrize("command", ["run", "check"])
def test_bad_input_ends_with_2_and_a_message_and_writes_nothing(command, text, line, key, words, call, tmp_path):
    Path("mine.yaml").write_text(text)
    code, out, err = call(command, "mine.yaml")
    assert code == 2
    (problem,) = told(err)
    assert (problem.place, problem.key) == (f"mine.yaml:{line}", key)
    for word in words:
        assert word in problem.message
    assert not out
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


def test_an_alias_bomb_is_refused_at_its_anchors_and_aliases(call):
    Path("mine.yaml").write_text("a: &a [x, x]\nb: &b [*a, *a]\nfleet: *b\n")
    code, _, err = call("check", "mine.yaml")
    assert code == 2
    assert places(err) == [
        ("mine.yaml:1", "a"),
        ("mine.yaml:2", "b"),
        ("mine.yaml:2", "b.0"),
        ("mine.yaml:2", "b.1"),
        ("mine.yaml:3", "fleet"),
    ]


def test_an_empty_dataset_is_refused(call):
    Path("mine.yaml").write_text(FLEET + "workload: {dataset: nothing.txt}\n")
    Path("nothing.txt").write_text("\n\n")
    code, _, err = call("run", "mine.yaml")
    (problem,) = told(err)
    assert (code, problem.place, problem.key) == (2, "mine.yaml:2", "workload.dataset.source")
    assert "is empty" in problem.message


def test_a_mixture_that_does_not_sum_is_refused(call):
    Path("lopsided.yaml").write_text(
        "type: fleet\nid: lopsided\ndevices: [{device: rpi5-8gb, weight: 0.4}]\n"
        "networks: [{network: lan-1gbe, weight: 1.0}]\navailability: always-on\n"
    )
    Path("mine.yaml").write_text("fleet: {mixture: lopsided, count: 3}\n")
    code, _, err = call("run", "mine.yaml")
    (problem,) = told(err)
    assert (code, Path(problem.place).name, problem.key) == (2, "lopsided.yaml:3", "devices")
    assert problem.message == "the weights must sum to 1, not 0.4"


def test_a_negative_bandwidth_is_refused_with_its_file_and_line(call):
    Path("slow.yaml").write_text("type: network\nid: slow\nuplink_mbit_per_s: -3\ndownlink_mbit_per_s: 3\nrtt_ms: 10\n")
    Path("mine.yaml").write_text("fleet: {clients: [{device: rpi5-8gb, network: slow}]}\n")
    code, _, err = call("run", "mine.yaml")
    (problem,) = told(err)
    assert (code, Path(problem.place).name, problem.key) == (2, "slow.yaml:3", "uplink_mbit_per_s")
    assert "got -3" in problem.message


def test_a_client_whose_memory_cannot_hold_one_block_is_named(call):
    device = Path("toaster.yaml")
    assert call("new", "device", "toaster")[0] == 0
    text = device.read_text()
    lines = [
        "memory_gib: 0.25" if line.startswith("memory_gib:") else line
        for line in text.splitlines()
        if not line.startswith("memory_usable_gib:")
    ]
    device.write_text("\n".join(lines) + "\n")
    Path("mine.yaml").write_text("fleet: {clients: [{device: toaster, network: lan-1gbe}]}\n")
    code, _, err = call("run", "mine.yaml")
    (problem,) = told(err)
    assert (code, problem.place, problem.key) == (2, "mine.yaml:1", "fleet.clients.0.device")
    assert "1 client cannot hold cut 1: it takes 0." in problem.message
    assert "usable are 0.235 GiB of toaster" in problem.message  # 0.25 GiB less what the tier keeps for its system


def test_an_output_folder_that_exists_is_left_alone(call, tmp_path):
    (tmp_path / "out").mkdir()
    code, _, err = call("run", "quickstart", "--trainer", "cost-only", "--out", "out")
    assert (code, places(err)) == (2, [("--out", "")])
    assert "out exists" in err
    assert not list((tmp_path / "out").iterdir())


def test_every_problem_of_a_file_is_told_at_once(call):
    Path("mine.yaml").write_text("round: 3\nname: ../x\nfleet: {clients: []}\n")
    code, _, err = call("check", "mine.yaml")
    assert code == 2
    assert places(err) == [("mine.yaml:1", "round"), ("mine.yaml:2", "name"), ("mine.yaml:3", "fleet.clients")]


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "quickstart", "--set", "policy.kind=splitfed"),
        ("run", "quickstart", "--set", "rounds"),
        ("run", "quikstart"),
        ("run", "quickstart", "--device", "tpu"),
        ("devices", "show", "rpi6"),
        ("networks", "show", "lan"),
        ("new", "gadget", "x"),
        ("new", "device", "../x"),
        ("no-such-command",),
    ],
    ids=" ".join,
)
def test_a_mistake_on_the_command_line_ends_with_2(arguments, call, tmp_path):
    code, _, err = call(*arguments)
    assert code == 2
    assert err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_a_number_with_an_exponent_is_a_number(call):
    Path("mine.yaml").write_text(FLEET + "workload: {optimizer: {learning_rate: 5e-5}}\n")
    code, out, _ = call("check", "mine.yaml", "--json")
    assert code == 0
    assert json.loads(out)["num_clients"] == 1


def test_check_says_what_memory_is_for_and_what_is_missing_for_energy(call):
    code, out, _ = call("check", "quickstart")
    assert code == 0
    assert "Memory by cut, in GiB" in out
    assert "1 more cut(s) in --json" in out  # of the seven of a model with eight blocks
    assert "unknown: power_idle_w, power_transmit_w, power_receive_w of rpi5-8gb" in out
    _, out, _ = call("check", "quickstart", "--set", "costs.energy=assumed")
    assert "known of every client, power partly assumed" in out
    _, out, _ = call("check", "quickstart", "--set", "costs.energy=assumed", "--json")
    for row in json.loads(out)["cuts"]:
        for side in ("client", "server"):
            assert sum(row[f"{side}_memory"].values()) == row[f"{side}_memory_bytes"]


def test_check_shows_memory_by_cut_before_it_refuses_what_does_not_fit(call, tmp_path):
    Path("phones.yaml").write_text(
        "fleet: {mixture: phones-2024, count: 8}\nworkload: {priced_as: llama-2-7b}\nexecution: {trainer: cost-only}\n"
    )
    code, out, err = call("check", "phones.yaml")
    assert code == 2
    assert "Memory by cut, in GiB" in out
    [problem] = told("\n".join(line for line in err.splitlines() if not line.startswith("note: ")))
    assert (problem.place, problem.key) == ("phones.yaml:1", "fleet.mixture")
    assert problem.message.startswith("7 clients cannot hold cut 1, which is 4 blocks of llama-2-7b: ")
    code, out, err = call("check", "phones.yaml", "--json")
    assert (code, json.loads(out)["num_clients"]) == (2, 8)
    code, out, err = call("run", "phones.yaml", "--quiet")
    assert (code, out, [path.name for path in tmp_path.iterdir()]) == (2, "", ["phones.yaml"])


def test_a_run_keeps_its_notes_and_says_who_was_left_out(call):
    excluding = ("memory-wall", "--set", "policy.kind=fixed", "--set", "policy.cut=4", "--set", "costs.oom=exclude")
    code, out, err = call("run", *excluding, "--set", "rounds=1", "--out", "run")
    assert code == 0
    [note] = [line.removeprefix("note: ") for line in err.splitlines() if "costs.oom exclude: " in line]
    kept = json.loads(Path("run/run.json").read_text())["notes"]
    assert note in kept
    assert splitft.load_run("run").notes == tuple(kept)
    [row] = [line for line in out.splitlines() if line.startswith("not enough memory")]
    assert row.strip().endswith("2 of 10 clients take no part: they cannot hold cut 4")
    code, out, _ = call("run", *excluding, "--set", "rounds=1", "--json")
    assert json.loads(out)["notes"] == kept


def test_a_run_closes_with_the_energy_of_its_clients(call):
    assumed = ("--set", "costs.energy=assumed", "--set", "rounds=1", "--trainer", "cost-only")
    code, out, _ = call("run", "quickstart", *assumed, "--json")
    energy_j = json.loads(out)["energy_j"]
    assert code == 0
    assert energy_j > 0
    _, out, _ = call("run", "quickstart", *assumed)
    assert "energy of the clients" in out
    assert "power partly assumed" in out


def test_a_cost_only_run_prints_its_closing_table_and_numbers_its_folders(call):
    for number in (1, 2):
        code, out, _ = call("run", "quickstart", "--trainer", "cost-only", "--set", "rounds=1")
        assert code == 0
        assert "simulated time" in out
        assert "slowest client" in out
        assert Path(f"runs/quickstart-{number:03d}/run.json").is_file()


def test_json_on_standard_output_is_json_alone(call):
    code, out, _ = call("run", "quickstart", "--trainer", "cost-only", "--set", "rounds=1", "--json")
    assert code == 0
    summary = json.loads(out)
    assert summary["num_rounds"] == 1
    assert summary["up_bytes"]["upload_activations"] > 0


def test_quiet_prints_nothing(call):
    assert call("run", "quickstart", "--trainer", "cost-only", "--set", "rounds=1", "--quiet") == (0, "", "")


def test_a_template_of_a_scenario_runs_as_it_stands(call):
    assert call("new", "scenario", "mine")[0] == 0
    assert call("check", "mine.yaml")[0] == 0
    assert call("new", "scenario", "mine")[0] == 2  # never over a file that is there


def test_a_device_of_ones_own_is_used_from_a_catalogue_folder(call):
    Path("own").mkdir()
    assert call("new", "device", "toaster")[0] == 0
    Path("toaster.yaml").rename("own/toaster.yaml")
    assert call("devices", "check", "own/toaster.yaml")[0] == 0
    code, out, _ = call("devices", "list", "--catalogue", "own")
    assert code == 0
    assert "toaster" in out
    override = "fleet.clients=[{device: toaster, network: lan-1gbe}]"
    assert call("check", "quickstart", "--catalogue", "own", "--set", override)[0] == 0


def test_a_file_in_the_working_folder_that_nobody_was_told_of_is_pointed_out(call):
    code, out, _ = call("new", "device", "my-jetson")
    assert code == 0
    check, use = out.splitlines()
    assert check.endswith("then: splitft devices check my-jetson.yaml")
    assert use.startswith("Use it: --catalogue . --set fleet.clients.0.device=my-jetson (")
    hint = "unknown device 'my-jetson': my-jetson.yaml states it, and counts with --catalogue ."
    assert call("devices", "show", "my-jetson") == (2, "", f"error: {hint}\n")
    used = ("check", "quickstart", "--set", "fleet.clients.0.device=my-jetson")
    code, _, err = call(*used)
    assert (code, told(err)[0].message) == (2, hint)
    assert call(*used, "--catalogue", ".")[0] == 0
    _, _, err = call("networks", "show", "my-jetson")  # which it is not
    assert err == "error: unknown network 'my-jetson' (splitft networks list has all)\n"


@pytest.mark.parametrize("kind", ["device", "network", "fleet"])
def test_a_file_of_ones_own_is_checked_by_the_command_that_its_template_names(kind, call):
    _, out, _ = call("new", kind, "mine")
    assert f"then: splitft {kind}s check mine.yaml\n" in out
    code, out, _ = call(f"{kind}s", "check", "mine.yaml")
    assert (code, out.splitlines()[0]) == (0, f"mine.yaml: good: {kind} 'mine'")


def test_a_slip_of_units_is_told_of_by_the_check_of_the_file_and_by_whoever_uses_the_device(call):
    assert call("new", "device", "board")[0] == 0
    Path("board.yaml").write_text(Path("board.yaml").read_text().replace("memory_gib: 12", "memory_gib: 12000000"))
    code, out, err = call("devices", "check", "board.yaml")
    assert (code, out.splitlines()[0]) == (0, "board.yaml: good: device 'board'")
    doubt = (
        "device 'board': memory_gib is 1.2e+07, over 30 times the most of any shipped device, 512: is the unit right?"
    )
    assert err == f"warning: {doubt}\n"
    _, _, err = call("check", "quickstart", "--catalogue", ".", "--set", "fleet.clients.0.device=board")
    assert f"note: {doubt}\n" in err


@pytest.mark.parametrize("kind", ["scenario", "study", "device", "network", "fleet"])
def test_another_kind_of_file_than_was_meant_is_told_once_with_its_own_command(kind, call):
    assert call("new", kind, "mine")[0] == 0
    other = {"scenario": "run", "study": "sweep"}.get(kind, "devices check")
    said = kind if kind in {"scenario", "study"} else f"{kind} file"
    for command, meant in [
        (("check",), "scenario"),
        (("run",), "scenario"),
        (("sweep",), "study"),
        (("sweep", "--base"), "scenario"),
        (("devices", "check"), "profile"),
    ]:
        if meant == kind or (meant == "profile" and kind not in {"scenario", "study"}):
            continue
        code, out, err = call(*command, "mine.yaml", *(["--seeds", "2"] if "--base" in command else []))
        assert (code, out) == (2, "")
        [problem] = told(err)
        assert problem.message.startswith(f"this is a {said}, not a {meant}: splitft {other} mine.yaml")
        assert ("--base mine.yaml" in problem.message) == ((kind, meant) == ("scenario", "study"))


def test_an_unexpected_failure_is_told_without_a_traceback(call, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("the roof is on fire")

    monkeypatch.setattr("splitft.commands.run_scenario", fail)
    code, _, err = call("run", "quickstart")
    assert code == 1
    assert "the roof is on fire" in err
    assert "Traceback" not in err


def test_a_file_whose_ending_alone_is_missing_or_another_is_pointed_out(call):
    Path("own").mkdir()
    Path("own/mine.yaml").write_text(FLEET)
    Path("own/study.yaml").write_text("base: mine\nvary: {rounds: [1, 2]}\n")
    code, _, err = call("sweep", "own/study.yaml")
    [problem] = told(err)
    assert (code, problem.place, problem.key) == (2, "own/study.yaml:1", "base")
    assert problem.message.endswith("; did you mean 'mine.yaml'?")
    for command, name in [("run", "own/mine.yml"), ("check", "own/mine"), ("sweep", "own/study")]:
        code, _, err = call(command, name)
        assert code == 2
        assert err.strip().endswith(f"; did you mean '{Path(name).stem}.yaml'?")


def test_a_key_that_belongs_elsewhere_is_pointed_out(call):
    for key, hint in [
        ("policy.cut=3", "'cut' belongs to kind fixed"),
        ("selection.deadline_s=3", "'deadline_s' belongs to kind over-commit or deadline"),
        ("workload.learning_rate=0.1", "'learning_rate' is a key of workload.optimizer"),
        ("workload.rounds=3", "'rounds' is a key of the top level"),
        ("max_samples=3", "'max_samples' is a key of workload.validation and of evaluation"),
        ("workload.batchsize=3", "did you mean 'batch_size'?"),
    ]:
        code, _, err = call("check", "quickstart", "--set", key)
        assert code == 2
        assert err.strip().endswith(f"; {hint}"), err


def test_a_file_that_cannot_be_read_is_told_at_the_key_that_names_it(call):
    for key in ("network.trace.file", "availability.file"):
        more = ("--set", "availability.kind=trace") if key.startswith("availability") else ()
        code, _, err = call("check", "quickstart", *more, "--set", f"{key}=none.csv")
        assert code == 2
        assert told(err)[0].place == "--set"
        assert told(err)[0].key == key
        assert told(err)[0].message.startswith("none.csv: cannot be read")


@pytest.mark.parametrize(("option", "value"), [("--device", "gpu"), ("--trainer", "costonly")])
def test_a_mistake_in_an_option_is_told_at_the_option(option, value, call):
    code, _, err = call("run", "quickstart", option, value)
    [problem] = told(err)
    assert (code, problem.place, problem.key) == (2, option, "")
    code, _, err = call("run", "quickstart", "--set", f"execution.{option[2:]}={value}")
    assert (code, places(err)) == (2, [("--set", f"execution.{option[2:]}")])


def test_the_version_is_that_of_the_package(call):
    assert call("--version") == (0, f"splitft {version('splitft')}\n", "")
    assert splitft.__version__ == version("splitft")
    assert "what would it take on these devices" in " ".join(call("--help")[1].split())


def test_where_own_code_fails_the_run_that_is_left_is_named_and_a_new_one_asked_for(call):
    Path("mine.py").write_text(
        "from simulator.policies.observation import Decision\n\n\n"
        "def late(observations, memory, section):\n"
        "    if memory:\n"
        "        raise KeyError('a bug')\n"
        "    return Decision(cuts={o.client: 1 for o in observations}, reasons={}, memory={'asked': 1})\n"
    )
    failing = ("quickstart", "--trainer", "cost-only", "--set", "rounds=3", "--set", "policy.kind=mine.py:late")
    code, _, err = call("run", *failing)
    left, problem = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert code == 2
    assert left == (
        "runs/quickstart-001 keeps what was done until the code failed; "
        "a resume would refuse other code: mend it, then start a new run"
    )
    assert "KeyError: 'a bug', line 6" in problem
    Path("mine.py").write_text(Path("mine.py").read_text().replace("if memory", "if False"))
    code, _, err = call("resume", "last")
    assert code == 2
    assert "own_code" in err  # what the message had foretold


def test_an_interruption_ends_with_130(call, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("splitft.commands.run_scenario", interrupt)
    assert call("run", "quickstart") == (130, "", "error: interrupted\n")
    monkeypatch.setattr("splitft.commands.resolve", interrupt)
    assert call("check", "quickstart") == (130, "", "error: interrupted\n")
    monkeypatch.setattr("splitft.fetching.fetch_model", interrupt)  # which says more
    code, _, err = call("models", "fetch", "smollm2-135m")
    assert (code, err.count("interrupted")) == (130, 1)


def test_a_fleet_says_why_it_cannot_be_used_and_nothing_of_it_where_it_can(call):
    _, usable, _ = call("fleets", "show", "edge-lab")
    assert "unusable" not in usable
    _, unusable, _ = call("fleets", "show", "fedscale-compat")
    assert "unusable" in unusable


def test_every_number_is_shown_with_its_kind_its_source_and_its_note(call):
    _, out, _ = call("devices", "show", "rpi5-8gb")
    (achieved,) = [line for line in out.splitlines() if line.startswith("achieved_frac")]
    assert achieved.split()[1:3] == ["0.39", "measured"]
    assert "(HPL FP64 30.2 of 76.8 GF)" in out


def test_a_median_is_shown_with_its_own_origin_and_not_with_that_of_the_spread_assumed_around_it(call):
    _, out, _ = call("networks", "show", "us-fixed-2022-median")
    kinds = {line.split()[0]: line.split()[2] for line in out.splitlines() if line.startswith("uplink")}
    assert kinds == {
        "uplink_bytes_per_s.median": "measured",
        "uplink_bytes_per_s.sigma_low": "assumed",
        "uplink_bytes_per_s.sigma_high": "assumed",
    }


def test_networks_are_listed_with_a_mark_at_what_is_assumed(call):
    _, out, _ = call("networks", "list")
    cells = {line.split()[0]: line.split()[1:4] for line in out.splitlines() if line[:1].isalpha()}
    assert cells["us-fixed-user-2025"] == ["285", "48*", "14*"]  # the table: downlink recalled, the others assumed
    assert cells["us-fixed-2022-median"] == ["193.7", "22.6", "14"]  # medians that were measured
    assert "* assumed" in out


def test_the_weights_of_a_fleet_are_shown_with_their_origin(call):
    _, out, _ = call("fleets", "show", "edge-lab")
    (weights,) = [line.split() for line in out.splitlines() if line.startswith("weights")]
    assert " ".join(weights) == "weights as above assumed design choice, not measured market shares"


def test_an_availability_profile_is_checked_and_shown(call):
    Path("mine.yaml").write_text(
        "type: availability\nkind: assumed\nsource: a guess\nprocess: sinusoid\navailable_frac: 0.4\ndiurnal_ratio: 2\n"
    )
    code, out, err = call("devices", "check", "mine.yaml")
    assert (code, err) == (0, "")
    assert out.startswith("mine.yaml: good: availability 'mine'")
    rows = [line.split() for line in out.splitlines()]
    assert ["available_frac", "0.4", "assumed", "a", "guess"] in rows
    assert ["on_mean_s", "unknown"] in rows
