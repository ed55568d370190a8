import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from devices.catalogue.lookup import SHIPPED, TYPES, Catalogue, Shadowed
from devices.catalogue.own_files import check_file, template, word_of
from devices.defaults import defaults
from devices.device_file import DeviceFile
from devices.fleet_file import FleetFile
from devices.network_file import NetworkFile
from devices.profiles import DeviceProfile, Provenance
from devices.strict_yaml import InputError, read_document

FLEET = "type: fleet\nnetworks: [{network: lan-1gbe, weight: 1}]\ndevices: [{device: rpi5-8gb, weight: 1}]\n"
DEVICE = "tier: sbc\naccelerator: cpu\npeak_fp32_tflops: 0.2\nmemory_gib: 4\nmemory_bandwidth_gbyte_per_s: 10\n"


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue()


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def refused(*folders: Path) -> list[str]:
    with pytest.raises(InputError) as caught:
        Catalogue(folders)
    return str(caught.value).splitlines()


# ---- the shipped catalogue


@pytest.mark.parametrize("kind", TYPES)
def test_every_shipped_file_states_the_profile_of_its_name(catalogue: Catalogue, kind: str) -> None:
    look_up: Any = {
        "devices": catalogue.device,
        "networks": catalogue.network,
        "fleets": catalogue.fleet,
        "availability": catalogue.availability,
    }[kind]

    names = catalogue.ids(kind)

    assert list(names) == sorted(names)
    assert [look_up(name).id for name in names] == list(names)


def test_every_shipped_number_has_a_kind_and_a_source(catalogue: Catalogue) -> None:
    origins: list[Provenance] = []
    for name in catalogue.ids("devices"):
        device = catalogue.device(name)
        stated = {f"peak_flops_per_s.{dtype}" for dtype in device.peak_flops_per_s} | {
            field
            for field, value in vars(device).items()
            if isinstance(value, int | float) or (field == "training_frac" and value is not None)
        }
        assert set(device.provenance) == stated
        origins += device.provenance.values()
    for name in catalogue.ids("networks"):
        origins += catalogue.network(name).provenance.values()
    for name in catalogue.ids("fleets"):
        origins += catalogue.fleet(name).provenance.values()
    origins += [catalogue.availability(name).provenance for name in catalogue.ids("availability")]

    assert {origin.kind for origin in origins} == {
        *("vendor", "measured", "derived", "third-party", "recalled", "assumed")  # none is a user's
    }
    assert all(origin.source and not origin.source.endswith(".yaml") for origin in origins)


def test_every_tier_of_the_catalogue_has_defaults_with_their_reasons(catalogue: Catalogue) -> None:
    assert {catalogue.device(name).tier for name in catalogue.ids("devices")} == set(defaults().tiers)
    for tier in defaults().tiers.values():
        for number in (tier.achieved_frac, tier.memory_usable_frac):
            assert number.kind == "assumed"
            assert number.source


def test_the_one_blank_of_the_devices_is_filled_with_the_median_of_its_tier(catalogue: Catalogue) -> None:
    # The other server GPUs: .65 .65 .69 .69 .70 .72 .74 .75 .78 .79, median (.70 + .72) / 2.
    l4 = catalogue.device("nvidia-l4")

    assert l4.achieved_frac == 0.71
    assert l4.provenance["achieved_frac"].kind == "assumed"


@pytest.mark.parametrize(
    ("device", "dtypes"),
    [
        ("nvidia-t4", {"float32", "float16"}),  # no bfloat16 before Ampere
        ("nvidia-v100-sxm2-16gb", {"float32", "float16"}),
        ("rtx-2080ti", {"float32", "float16"}),
        ("rtx-3060-12gb", {"float32", "float16", "bfloat16"}),
        ("nvidia-a100-80gb-sxm", {"float32", "float16", "bfloat16"}),
        ("jetson-orin-nano-8gb", {"float32", "float16", "bfloat16"}),
        ("jetson-xavier-nx-8gb", {"float32", "float16"}),
        ("cpu-xeon-8480", {"float32", "bfloat16"}),  # the AMX of this generation has no float16
        ("phone-sd8gen3", {"float32", "float16"}),
        ("apple-m2-16gb", {"float32", "float16"}),
    ],
)
def test_a_device_has_the_dtypes_of_its_hardware(catalogue: Catalogue, device: str, dtypes: set[str]) -> None:
    assert set(catalogue.device(device).peak_flops_per_s) == dtypes


def test_a_published_training_share_is_no_attainable_share(catalogue: Catalogue) -> None:
    a100 = catalogue.device("nvidia-a100-80gb-sxm")

    assert (a100.achieved_frac, a100.training_frac) == (0.72, (0.17, 0.32))
    assert (a100.bandwidth_efficiency_frac, a100.provenance["bandwidth_efficiency_frac"].kind) == (0.72, "measured")


def test_networks_without_uplink_or_rtt_are_listed_with_what_they_lack(catalogue: Catalogue) -> None:
    unusable = {
        name: catalogue.network(name).missing
        for name in catalogue.ids("networks")
        if not catalogue.network(name).usable
    }

    assert unusable == {
        "fedscale-mobiperf": ("rtt_ms",),
        "flash-wifi": ("rtt_ms",),
        "global-5g-2023-median": ("rtt_ms",),
        "global-fixed-2023-median": ("rtt_ms",),
        "hsdpa-norway-3g": ("uplink_mbit_per_s", "rtt_ms"),
        "lumos5g-4g-moving": ("uplink_mbit_per_s", "rtt_ms"),
        "lumos5g-5g-mmwave-moving": ("uplink_mbit_per_s", "rtt_ms"),
    }


def test_data_that_may_not_be_redistributed_is_shipped_as_fitted_parameters_only(catalogue: Catalogue) -> None:
    sources = ("ookla-open-data", "SIGCOMM21-5G", "confiwent")
    limited = [path for path in (SHIPPED / "networks").glob("*.yaml") if any(s in path.read_text() for s in sources)]

    assert len(limited) == 11  # 2 Ookla tiles, 6 SIGCOMM21, 2 Lumos5G traces in its artifact, 1 HSDPA
    for path in limited:
        assert not re.search(r"p10|p50|p90|\d/\d+/\d", path.read_text()), path
        assert {origin.kind for origin in catalogue.network(path.stem).provenance.values()} <= {"derived", "assumed"}
    notice = (SHIPPED.parents[1] / "NOTICE").read_text()
    assert all(source in notice for source in sources)


def test_the_user_level_network_is_skewed_as_its_quantiles_are(catalogue: Catalogue) -> None:
    downlink, _, _ = catalogue.network("us-fixed-user-2025").spreads()

    assert downlink.median == 285 * 125_000  # 285 Mbit/s
    assert downlink.sigma_low > 2 * downlink.sigma_high  # ln(285/30.49) = 2.24, ln(698.6/285) = 0.90


def test_an_unknown_id_is_answered_with_the_nearest(catalogue: Catalogue) -> None:
    with pytest.raises(
        InputError, match=r"^unknown device 'nvidia-t44'; did you mean 'nvidia-t4'\? \(splitft devices list has all\)$"
    ):
        catalogue.device("nvidia-t44")
    with pytest.raises(InputError, match=r"^unknown availability 'always-onn'; did you mean 'always-on'\?$"):
        catalogue.availability("always-onn")


def test_every_observation_of_a_software_stack_has_a_source() -> None:
    files = [read_document(path) for path in (SHIPPED / "efficiency").glob("*.yaml")]

    observations = [observation for document in files for observation in document.data["observations"]]

    assert len(observations) == 37
    assert all(observation["kind"] in {"measured", "derived"} and observation["source"] for observation in observations)


# ---- the user's own files


def test_files_of_the_users_are_found_in_typed_folders_and_beside(tmp_path: Path) -> None:
    write(tmp_path / "devices" / "board.yaml", DEVICE)
    write(tmp_path / "networks" / "link.yml", "id: my.link\nuplink_mbit_per_s: 5\ndownlink_mbit_per_s: 9\nrtt_ms: 8\n")
    write(tmp_path / "flat.yaml", "type: device\n" + DEVICE)
    write(tmp_path / "scenario.yaml", "name: x\nfleet: {}\nnot: [read")  # no `type` line: not a catalogue's file

    catalogue = Catalogue([tmp_path])

    assert {"board", "flat", "rpi5-8gb"} <= set(catalogue.ids("devices"))
    assert catalogue.device("flat").provenance["memory_bytes"].kind == "user"
    assert catalogue.network("my.link").median() == (9 * 125_000, 5 * 125_000, 0.004)
    assert catalogue.file("devices", "board") == tmp_path / "devices" / "board.yaml"
    assert catalogue.file("devices", "rpi5-8gb") == SHIPPED / "devices" / "rpi5-8gb.yaml"
    assert catalogue.shadowed == ()


def test_a_file_that_replaces_a_shipped_entry_is_reported(tmp_path: Path) -> None:
    path = write(tmp_path / "devices" / "rpi5-8gb.yaml", DEVICE)

    catalogue = Catalogue([tmp_path])

    assert catalogue.shadowed == (Shadowed(kind="device", id="rpi5-8gb", file=path),)
    assert catalogue.device("rpi5-8gb").memory_bytes == 4 * 2**30
    assert catalogue.ids("devices").count("rpi5-8gb") == 1


def test_a_folder_with_a_name_like_a_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").mkdir()

    assert Catalogue([tmp_path]).ids("devices") == Catalogue().ids("devices")


def test_a_folder_named_twice_is_read_once(tmp_path: Path) -> None:
    write(tmp_path / "devices" / "board.yaml", DEVICE)

    assert "board" in Catalogue([tmp_path, tmp_path / "devices" / ".."]).ids("devices")


def test_everything_wrong_with_the_users_files_is_told_at_once(tmp_path: Path) -> None:
    write(tmp_path / "devices" / "a.yaml", "id: same\n" + DEVICE)
    write(tmp_path / "devices" / "b.yaml", "id: same\n" + DEVICE)
    write(tmp_path / "devices" / "c.yaml", "a: [1, 2")
    write(tmp_path / "devices" / "d.yaml", "type: network\n")
    write(tmp_path / "devices" / "My Board.yaml", DEVICE)

    lines = refused(tmp_path, tmp_path / "nowhere")

    assert f"{tmp_path / 'nowhere'}: there is no such folder" in lines
    assert (
        f"{tmp_path / 'devices' / 'b.yaml'}:1: id: device 'same' is also in {tmp_path / 'devices' / 'a.yaml'}" in lines
    )
    assert any("c.yaml:1: not valid YAML" in line for line in lines)
    assert f"{tmp_path / 'devices' / 'd.yaml'}:1: type: unknown type 'network'; allowed here: device" in lines
    assert any("My Board.yaml:1: id: 'My Board' is no id: " in line for line in lines)
    assert len(lines) == 5


def test_an_unknown_id_beside_own_files_says_which_files_count(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"counts if it is in a folder 'devices' or has the line 'type: device'"):
        Catalogue([tmp_path]).device("board")


# ---- templates and the check


@pytest.mark.parametrize("kind", ["device", "network", "fleet"])
def test_a_template_is_valid_as_it_stands(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "mine.yaml", template(kind, "my-own.1"))

    profile = check_file(path)

    assert (word_of(profile), profile.id) == (kind, "my-own.1")
    assert "#" in path.read_text()
    assert "name-it" not in path.read_text()


def test_a_template_of_a_device_states_every_number_that_a_profile_needs(tmp_path: Path) -> None:
    profile = check_file(write(tmp_path / "mine.yaml", template("device", "mine")))

    assert isinstance(profile, DeviceProfile)
    assert {origin.kind for origin in profile.provenance.values()} == {"user"}


def test_there_are_no_templates_of_other_things_nor_for_bad_names() -> None:
    with pytest.raises(
        InputError, match=r"^no template for 'devise'; allowed: device, fleet, network; did you mean 'device'"
    ):
        template("devise", "x")
    with pytest.raises(InputError, match=r"^'\.\./x' is no id"):
        template("device", "../x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (DEVICE, "mine.yaml: this file does not say what it states; add the line 'type: device'"),
        (
            "type: devise\n",
            "mine.yaml:1: type: unknown type 'devise'; allowed here: device, network, fleet, availability; did",
        ),
        ("type: 3\n", "mine.yaml:1: type: unknown type 3; allowed here: "),
        ("type: [a]\n", "mine.yaml:1: type: unknown type a list; allowed here: "),
        ("type: device\ntier: sbc\n", "mine.yaml:1: accelerator: this key is required"),
        (
            "type: network\nuplink_mbit_per_s: 3\n",
            "mine.yaml:1: network 'mine' cannot be used: downlink_mbit_per_s and rtt_ms are",
        ),
        (
            "type: fleet\nnetworks: [{network: lan-1gbe, weight: 1}]\ndevices:\n- {device: rpi6, weight: 1}\n",
            "mine.yaml:4: devices.0.device: unknown device 'rpi6'; did you mean 'rpi5-8gb'?",
        ),
        (
            f"{FLEET}availability: allways-on\n",
            "mine.yaml:4: availability: unknown availability 'allways-on'; did you mean 'always-on'?",
        ),
        ("type: availability\nprocess: on-off-renewal\n", "mine.yaml:2: process: on-off-renewal needs `on` and `off`"),
    ],
)
def test_a_check_names_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        check_file(write(tmp_path / "mine.yaml", text))

    assert message in str(caught.value)


@pytest.mark.parametrize("model", [DeviceFile, NetworkFile, FleetFile])
def test_the_manual_explains_every_key_of_a_file(model: type) -> None:
    manual = (SHIPPED.parents[1] / "docs" / "catalogue.md").read_text()

    unexplained = [field.name for field in dataclasses.fields(model) if f"`{field.name}`" not in manual]

    assert unexplained == []


def test_the_manual_names_every_entry_that_cannot_be_used(catalogue: Catalogue) -> None:
    manual = (SHIPPED.parents[1] / "docs" / "catalogue.md").read_text()
    section = manual.split("## Entries that cannot be used yet")[1].split("\n## ")[0]

    networks = {name for name in catalogue.ids("networks") if not catalogue.network(name).usable}
    fleets = {name for name in catalogue.ids("fleets") if catalogue.fleet(name).unusable}
    assert set(re.findall(r"^\| `([^`]+)`", section, re.MULTILINE)) == networks | fleets


def test_a_fleet_may_use_devices_beside_it(tmp_path: Path) -> None:
    write(tmp_path / "devices" / "board.yaml", DEVICE)
    fleet = "networks: [{network: lan-1gbe, weight: 1}]\ndevices: [{device: board, weight: 1}]\n"

    assert check_file(write(tmp_path / "fleets" / "mine.yaml", fleet)).id == "mine"
