import csv
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from devices.catalogue.conversion.devices import device_file
from devices.catalogue.conversion.text import gib, yaml_file
from devices.catalogue.convert import convert
from devices.catalogue.lookup import SHIPPED, Catalogue
from devices.networks import Spread
from devices.strict_yaml import parse_document, read_document
from devices.units import bytes_from_gib

TABLES = Path(__file__).parents[3] / "shared" / "catalogue"
needs_tables = pytest.mark.skipif(
    not TABLES.is_dir(), reason="the tables that the catalogue was compiled in are not here"
)

DEVICE_COLUMNS = (
    "id name tier accelerator peak_fp32_flops peak_fp16_flops achieved_fraction_or_blank memory_bytes "
    "memory_bandwidth_bytes_per_s power_w kind source_url_or_citation notes memory_usable_bytes cpu_peak_fp32_flops "
    "achieved_basis train_fraction_or_blank train_basis confidence"
)
BOARD = {
    "id": "a",
    "name": "Board A",
    "tier": "sbc",
    "accelerator": "gpu(unified)",
    "confidence": "high",
    "peak_fp32_flops": "5.76e+10",
    "peak_fp16_flops": "1.152e+11",
    "cpu_peak_fp32_flops": "5.76e+10",
    "memory_bytes": "8589934592",
    "memory_usable_bytes": "7301444403",
    "memory_bandwidth_bytes_per_s": "1.71e+10",
    "achieved_fraction_or_blank": "0.4",
    "achieved_basis": "assumed",
    "power_w": "7.2",
    "train_fraction_or_blank": "0.1-0.2",
    "train_basis": "a paper",
    "source_url_or_citation": "site | other",
    "notes": "see: note, twice",
    "kind": "fp32=D/R(4x1.8GHz x8, by hand);fp16=V;mem=V;bw=T;power=assumed;achieved=R;usable=R",
}
CARD = {
    "id": "rtx-3090",
    "name": "Card",
    "tier": "sbc",
    "accelerator": "gpu",
    "confidence": "low",
    "peak_fp32_flops": "1e+12",
    "peak_fp16_flops": "2e+12",
    "power_w": "100",
    "memory_bytes": "8589934592",
    "memory_usable_bytes": "8589934592",
    "memory_bandwidth_bytes_per_s": "1e+12",
    "kind": "fp32=V;fp16=V;mem=V;bw=V;power=V",
    "source_url_or_citation": "site | github:x/vidur y",
    "notes": "bw_eff .72",
}
NETWORK_COLUMNS = (
    "id name dl_p10_bps dl_p50_bps dl_p90_bps ul_p10_bps ul_p50_bps ul_p90_bps rtt_p10_ms rtt_p50_ms rtt_p90_ms "
    "dl_ln_mu_mbps dl_ln_sigma ul_ln_mu_mbps ul_ln_sigma rtt_ln_mu_ms rtt_ln_sigma rho_ln_dl_ul within_session_cv kind "
    "confidence source notes"
)
DOWNLINK = {
    "dl_p10_bps": "1e+07",
    "dl_p50_bps": "2e+07",
    "dl_p90_bps": "4e+07",
    "dl_ln_mu_mbps": "3",
    "dl_ln_sigma": "0.5",
}
FREE = {
    "id": "free",
    "name": "Free",
    "kind": "measured",
    "confidence": "high",
    "source": "open (MIT)",
    **DOWNLINK,
    "rtt_p10_ms": "5",
    "rtt_p50_ms": "10",
    "rtt_p90_ms": "20",
    "rtt_ln_mu_ms": "2.3",
    "rtt_ln_sigma": "0.54",
    "rho_ln_dl_ul": "0.5",
}
CLOSED = {
    "id": "closed",
    "name": "Closed",
    "kind": "measured",
    "confidence": "high",
    **DOWNLINK,
    "source": "github:SIGCOMM21-5G/artifact",
    "notes": "n=5. Near servers 13/15/22 ms.",
}
AVAILABILITY_COLUMNS = (
    "id name on_distribution off_distribution on_mean_h off_mean_h mean_available per_client_heterogeneity "
    "diurnal_mean diurnal_amplitude peak_local_hour max_over_min dropout kind confidence source notes"
)
TRACE = {
    "id": "x",
    "name": "X",
    "kind": "derived",
    "confidence": "high",
    "source": "site",
    "dropout": "0.06-0.10",
    "on_distribution": "lognormal(mu_ln_s=8,sd=1) KS .05",
    "off_distribution": "weibull(k=0.5,lam=5h)",
    "per_client_heterogeneity": "Beta(1.5,3); p10/50/90 .1/.2/.3",
}
EFFICIENCY_COLUMNS = (
    "device workload model tokens_per_step_or_prompt metric value achieved_flops fraction_of_peak peak_used flops_rule "
    "kind source"
)
OBSERVATION = {
    "device": "a",
    "workload": "LoRA (C++)",
    "metric": "tok/s",
    "value": "4-6",
    "achieved_flops": "1e12",
    "fraction_of_peak": ".5",
    "kind": "measured (once)",
    "source": "site",
}
FLEETS = """\
defaults: {compute_jitter_lognormal_sigma: 0.15, overhead_s_per_layer_fwd_bwd: 0.0045}
fleets:
  pair:
    devices: [{id: a, w: 0.5}, {id: rtx-3090, w: 0.5}]
    networks: [{id: free, via: free, w: 1.0}]
    availability: always-on
availability:
  always-on: {kind: always}
"""


def write_table(path: Path, columns: str, *rows: dict[str, str]) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns.split())
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def converted(tmp_path: Path) -> Path:
    write_table(tmp_path / "devices.csv", DEVICE_COLUMNS, BOARD, CARD)
    write_table(tmp_path / "networks.csv", NETWORK_COLUMNS, FREE, CLOSED)
    write_table(tmp_path / "availability.csv", AVAILABILITY_COLUMNS, TRACE)
    write_table(tmp_path / "efficiency.csv", EFFICIENCY_COLUMNS, OBSERVATION)
    (tmp_path / "fleets.yaml").write_text(FLEETS)
    out = tmp_path / "out"
    # 2 devices, 2 networks, 1 fleet, 2 availability profiles, 1 stack, the defaults
    assert convert(tmp_path, out) == 9
    return out


def data(path: Path) -> dict[str, Any]:
    return read_document(path).data


def test_a_device_row_becomes_numbers_in_human_units_with_kind_and_note(converted: Path) -> None:
    board = data(converted / "devices" / "a.yaml")

    # Of D/R the weaker kind counts; the basis "assumed" beats the kind R of the achieved share.
    assert board["peak_fp32_tflops"] == {
        "value": 0.0576,
        "kind": "recalled",
        "note": "partly derived; 4x1.8GHz x8, by hand",
    }
    assert board["peak_fp16_tflops"] == {"value": 0.1152, "kind": "vendor"}
    assert board["achieved_frac"] == {"value": 0.4, "kind": "assumed"}
    assert board["memory_gib"] == {"value": 8, "kind": "vendor"}
    assert board["memory_usable_gib"] == {"value": 6.8, "kind": "recalled"}  # 6.8 * 2^30 = 7301444403.2
    assert board["memory_bandwidth_gbyte_per_s"] == {"value": 17.1, "kind": "third-party"}
    assert board["power_active_w"] == {"value": 7.2, "kind": "assumed"}
    assert board["training_frac"] == {"low": 0.1, "high": 0.2, "kind": "assumed", "note": "a paper"}
    assert (board["accelerator"], board["source"], board["notes"]) == (
        "unified-gpu",
        "site | other",
        "see: note, twice",
    )
    assert "peak_bf16_tflops" not in board


def test_blanks_stay_blank_and_what_the_notes_give_is_used(converted: Path) -> None:
    card = data(converted / "devices" / "rtx-3090.yaml")

    assert "achieved_frac" not in card
    assert card["bandwidth_efficiency_frac"]["value"] == 0.72
    assert card["bandwidth_efficiency_frac"]["source"] == "github:x/vidur y"
    assert card["peak_bf16_tflops"]["value"] == card["peak_fp16_tflops"]["value"] == 2
    assert card["memory_usable_gib"]["kind"] == "assumed"  # the row states no kind for it


def test_the_defaults_are_medians_with_their_reasons(converted: Path) -> None:
    defaults = data(converted / "defaults.yaml")

    assert defaults["tiers"]["sbc"]["achieved_frac"]["value"] == 0.4  # of one device
    assert defaults["tiers"]["sbc"]["memory_usable_frac"]["value"] == 0.925  # (0.85 + 1) / 2
    assert defaults["devices"]["block_overhead_forward_ms"]["value"] == 1.5  # a third of 4.5 ms
    assert defaults["devices"]["block_overhead_backward_ms"]["value"] == 3
    assert defaults["networks"]["rtt_ln_sigma"]["value"] == 0.54


def test_raw_quantiles_of_a_source_without_licence_are_left_behind(converted: Path) -> None:
    free, closed = (data(converted / "networks" / f"{name}.yaml") for name in ("free", "closed"))

    assert {key: free["downlink_mbit_per_s"][key] for key in ("p10", "p50", "p90")} == {"p10": 10, "p50": 20, "p90": 40}
    assert free["downlink_mbit_per_s"]["kind"] == "measured"
    assert set(closed["downlink_mbit_per_s"]) == {"ln_mu", "ln_sigma", "kind", "note"}
    assert closed["downlink_mbit_per_s"]["kind"] == "derived"
    assert closed["notes"] == "n=5."
    assert "uplink_mbit_per_s" not in closed


def test_fleets_availability_and_observations_are_converted(converted: Path) -> None:
    assert data(converted / "fleets" / "pair.yaml")["networks"] == [{"network": "free", "via": "free", "weight": 1.0}]
    profile = data(converted / "availability" / "x.yaml")
    assert profile["on"] == [{"kind": "lognormal", "ln_mu_s": 8, "ln_sigma": 1, "ks": 0.05}]
    assert profile["off"] == [{"kind": "weibull", "shape": 0.5, "scale_h": 5}]
    assert (profile["client_beta"], profile["dropout_frac"]) == ([1.5, 3], [0.06, 0.1])
    observation = data(converted / "efficiency" / "lora-c.yaml")["observations"][0]
    assert (observation["value"], observation["achieved_tflops"], observation["peak_frac"]) == ([4, 6], 1, 0.5)
    assert (observation["kind"], observation["note"]) == ("measured", "once")


def test_a_kind_that_cannot_be_read_stops_the_conversion() -> None:
    with pytest.raises(ValueError, match="cannot read the kind 'fp16=X'"):
        device_file({**BOARD, "kind": "fp32=V;fp16=X"})


@pytest.mark.parametrize(
    "text", ["plain text", "true", "No", "12", "1e3", "a: b", "a, b", "#x", "[x]", "é", '"', "x ", "-", "a\tb", "null"]
)
def test_any_text_is_written_so_that_it_reads_back(text: str) -> None:
    written = yaml_file({"key": text, "flow": {"inner": text}}, "a table")

    assert parse_document(written, "x").data == {"key": text, "flow": {"inner": text}}


def test_memory_is_written_with_the_fewest_digits_that_read_back() -> None:
    assert gib("17179869184") == 16
    assert gib("15784004812") == Decimal("14.7")
    assert bytes_from_gib(float(gib("141000000000"))) == 141_000_000_000


# ---- the whole catalogue, where its tables are at hand


@needs_tables
def test_the_shipped_files_are_what_the_tables_convert_to(tmp_path: Path) -> None:
    convert(TABLES, tmp_path)

    written = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*.yaml")}
    folders = ("devices", "networks", "fleets", "availability", "efficiency")
    shipped = [path for folder in folders for path in (SHIPPED / folder).glob("*.yaml")] + [SHIPPED / "defaults.yaml"]
    assert written == {path.relative_to(SHIPPED): path.read_text() for path in shipped}


@needs_tables
def test_every_device_number_converts_back_to_the_table() -> None:
    catalogue = Catalogue()
    with (TABLES / "devices.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))

    assert catalogue.ids("devices") == tuple(sorted(row["id"] for row in rows))
    for row in rows:
        device = catalogue.device(row["id"])
        assert device.peak_flops_per_s["float32"] == float(row["peak_fp32_flops"])
        assert float(row["peak_fp16_flops"]) in {
            device.peak_flops_per_s.get("float16"),
            device.peak_flops_per_s.get("bfloat16"),  # one row's column is of bfloat16
        }
        assert device.memory_bytes == int(row["memory_bytes"])
        assert device.memory_usable_bytes == int(row["memory_usable_bytes"])
        assert device.memory_bandwidth_bytes_per_s == float(row["memory_bandwidth_bytes_per_s"])
        assert device.power_active_w == float(row["power_w"])
        if row["achieved_fraction_or_blank"]:
            assert device.achieved_frac == float(row["achieved_fraction_or_blank"])
        if row["cpu_peak_fp32_flops"]:
            assert device.cpu_peak_flops_per_s == float(row["cpu_peak_fp32_flops"])


@needs_tables
def test_every_network_number_converts_back_to_the_table() -> None:
    catalogue = Catalogue()
    with (TABLES / "networks.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))

    assert catalogue.ids("networks") == tuple(sorted(row["id"] for row in rows))
    for row in rows:
        network = catalogue.network(row["id"])
        shipped_raw = "p50" in (SHIPPED / "networks" / f"{row['id']}.yaml").read_text()
        for spread, median, sigma in (
            (network.downlink_bytes_per_s, row["dl_p50_bps"], row["dl_ln_sigma"]),
            (network.uplink_bytes_per_s, row["ul_p50_bps"], row["ul_ln_sigma"]),
        ):
            assert (spread is None) == (not median)
            if isinstance(spread, Spread) and shipped_raw:
                assert spread.median == float(median) / 8
            elif isinstance(spread, Spread):
                assert spread.sigma_low == float(sigma)
        if network.rtt_s is not None and shipped_raw:
            assert network.rtt_s.median == pytest.approx(float(row["rtt_p50_ms"]) / 1000, rel=1e-15)
