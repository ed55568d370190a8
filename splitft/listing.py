"""`splitft scenarios|devices|networks|fleets`: what can be named in a scenario, as tables and in detail."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from devices.availability import AvailabilityProfile
from devices.catalogue.lookup import Catalogue
from devices.networks import Spread
from devices.profiles import DeviceProfile, Provenance
from splitft.show import GIB, console, mbit_per_s, milliseconds, table, tflops

CatalogueOption = Annotated[
    list[Path] | None, typer.Option("--catalogue", metavar="DIR", help="A folder with your own files.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print as JSON.")]
Name = Annotated[str, typer.Argument(metavar="ID")]

AVAILABILITY_WORDS = {"id", "label", "process", "rule", "confidence", "notes", "provenance"}
SAY_NOTHING_IF_NONE = {"throttle", "unusable"}  # None means that there is nothing of it; elsewhere that it is unknown


def _app(help_: str) -> typer.Typer:
    return typer.Typer(help=help_, no_args_is_help=True, rich_markup_mode=None)


scenarios_app = _app("The scenarios that come with splitft.")
devices_app = _app("The devices of the catalogue and your own.")
networks_app = _app("The networks of the catalogue and your own.")
fleets_app = _app("The fleets of the catalogue and your own.")


@scenarios_app.command("list")
def list_scenarios() -> None:
    """List the shipped scenarios."""
    from simulator.scenario import Scenario, shipped

    console().print(table(["scenario", "what it is"], [(name, Scenario.load(name).label) for name in shipped()]))


@scenarios_app.command("show")
def show_scenario(scenario: Name) -> None:
    """Print a scenario with every default written out."""
    from simulator.scenario import Scenario, to_yaml

    typer.echo(to_yaml(Scenario.load(scenario)), nl=False)


@devices_app.command("list")
def list_devices(catalogue: CatalogueOption = None, json_: JsonOption = False) -> None:
    """List devices; an asterisk marks a number that is assumed."""
    found = Catalogue(catalogue or [])
    profiles = [found.device(name) for name in found.ids("devices")]
    if json_:
        _print_json(profiles)
        return
    rows = [
        (
            p.id,
            p.tier,
            tflops(p.peak_flops_per_s.get("float32")),
            tflops(p.peak_flops_per_s.get("float16")),
            f"{p.achieved_frac:.2f}{_assumed(p.provenance, 'achieved_frac')}",
            f"{p.memory_usable_bytes / GIB:.1f}{_assumed(p.provenance, 'memory_usable_bytes')}",
            "yes" if "bfloat16" in p.peak_flops_per_s else "no",
            p.confidence,
        )
        for p in profiles
    ]
    headings = ["device", "tier", "fp32 TFLOP/s", "fp16 TFLOP/s", "achieved", "usable GiB", "bf16", "confidence"]
    caption = "* assumed; `splitft devices show ID` gives every number's source"
    console().print(table(headings, rows, caption=caption, optional=["confidence", "bf16", "fp16 TFLOP/s"]))


@devices_app.command("show")
def show_device(device: Name, catalogue: CatalogueOption = None, json_: JsonOption = False) -> None:
    """Show a device: every number with its kind and source."""
    _show(Catalogue(catalogue or []).device(device), json_)


@devices_app.command("check")
@networks_app.command("check")
@fleets_app.command("check")
def check_profile(file: Annotated[Path, typer.Argument(help="A YAML file of yours.")]) -> None:
    """Check a file of yours: a device, network, fleet or availability profile."""
    from devices.catalogue.own_files import check_file, word_of
    from devices.catalogue.plausible import doubts

    profile = check_file(file)
    for doubt in doubts(profile) if isinstance(profile, DeviceProfile) else ():
        typer.echo(f"warning: {doubt}", err=True)
    typer.echo(f"{file}: good: {word_of(profile)} '{profile.id}'")
    _show(profile, as_json=False)


@networks_app.command("list")
def list_networks(catalogue: CatalogueOption = None, json_: JsonOption = False) -> None:
    """List networks: medians, with an asterisk where assumed, and what is missing where one cannot be used yet."""
    found = Catalogue(catalogue or [])
    profiles = [found.network(name) for name in found.ids("networks")]
    if json_:
        _print_json(profiles)
        return
    rows = [
        (
            p.id,
            f"{mbit_per_s(_median(p.downlink_bytes_per_s))}{_assumed(p.provenance, 'downlink_bytes_per_s.median')}",
            f"{mbit_per_s(_median(p.uplink_bytes_per_s))}{_assumed(p.provenance, 'uplink_bytes_per_s.median')}",
            f"{milliseconds(_median(p.rtt_s))}{_assumed(p.provenance, 'rtt_s.median')}",
            p.confidence,
            "" if p.usable else f"missing: {', '.join(p.missing)}",
        )
        for p in profiles
    ]
    headings = ["network", "down Mbit/s", "up Mbit/s", "RTT ms", "confidence", "unusable"]
    caption = "* assumed; `splitft networks show ID` gives every number's source"
    console().print(table(headings, rows, caption=caption, optional=["confidence", "unusable"]))


@networks_app.command("show")
def show_network(network: Name, catalogue: CatalogueOption = None, json_: JsonOption = False) -> None:
    """Show a network: every number with its kind and source."""
    _show(Catalogue(catalogue or []).network(network), json_)


@fleets_app.command("list")
def list_fleets(catalogue: CatalogueOption = None, json_: JsonOption = False) -> None:
    """List fleets: mixtures of devices and networks."""
    found = Catalogue(catalogue or [])
    profiles = [found.fleet(name) for name in found.ids("fleets")]
    if json_:
        _print_json(profiles)
        return
    rows = [(p.id, len(p.devices), len(p.networks), p.availability, p.unusable or "") for p in profiles]
    console().print(table(["fleet", "devices", "networks", "availability", "unusable"], rows))


@fleets_app.command("show")
def show_fleet(fleet: Name, catalogue: CatalogueOption = None, json_: JsonOption = False) -> None:
    """Show a fleet: what it mixes, with weights."""
    profile = Catalogue(catalogue or []).fleet(fleet)
    if json_:
        _print_json(profile)
        return
    console().print(table(["device", "weight"], [(s.device, f"{s.weight:.2f}") for s in profile.devices]))
    routes = [(s.network, s.via or "", f"{s.weight:.2f}") for s in profile.networks]
    console().print(table(["network", "via", "weight"], routes))
    _show(profile, as_json=False, hidden=("devices", "networks"))


def _show(profile: Any, as_json: bool, hidden: tuple[str, ...] = ()) -> None:
    """Print the fields of a profile in base units, each with its origin."""
    if as_json:
        _print_json(profile)
        return
    provenance = _origins(profile)
    rows = [("weights", "as above", *_cells(provenance["weights"]))] if "weights" in provenance else []
    for key, value in _flat(profile):
        absent = key in SAY_NOTHING_IF_NONE and getattr(profile, key) is None
        if not absent and key.split(".")[0] not in {*hidden, "provenance"}:
            rows.append((key, value, *_cells(_origin(provenance, key))))
    console().print(table([profile.id, "value (base units)", "kind", "source (note)"], rows))


def _origins(profile: Any) -> Mapping[str, Provenance]:
    """Return the origin of each number; of an availability profile all have the same."""
    if not isinstance(profile, AvailabilityProfile):
        return profile.provenance  # type: ignore[no-any-return]
    known = [field.name for field in dataclasses.fields(profile) if getattr(profile, field.name) is not None]
    return dict.fromkeys([name for name in known if name not in AVAILABILITY_WORDS], profile.provenance)


def _origin(provenance: Mapping[str, Provenance], key: str) -> Provenance | None:
    """Return the origin of a number, its own or else that of the whole that it is a part of."""
    return provenance.get(key) or provenance.get(key.partition(".")[0])


def _cells(origin: Provenance | None) -> tuple[str, str]:
    """Return kind, and source with note."""
    if origin is None:
        return "", ""
    return origin.kind, f"{origin.source} ({origin.note})" if origin.note else origin.source


def _flat(profile: Any) -> list[tuple[str, str]]:
    rows = []
    for field in dataclasses.fields(profile):
        value = getattr(profile, field.name)
        if isinstance(value, Mapping):
            rows += [
                (f"{field.name}.{key}", f"{item:.6g}") for key, item in value.items() if field.name != "provenance"
            ]
        elif dataclasses.is_dataclass(value):
            rows += [(f"{field.name}.{part}", text) for part, text in _flat(value)]
        elif isinstance(value, tuple) and all(map(dataclasses.is_dataclass, value)):
            rows += [(f"{field.name}.{place}", str(item)) for place, item in enumerate(value)]
        else:
            rows.append(
                (field.name, f"{value:.6g}" if isinstance(value, float) else "unknown" if value is None else str(value))
            )
    return rows


def _median(spread: Spread | None) -> float | None:
    return None if spread is None else spread.median


def _assumed(provenance: Mapping[str, Provenance], field: str) -> str:
    origin = _origin(provenance, field)
    return "*" if origin is not None and origin.kind == "assumed" else ""


def _print_json(value: Any) -> None:
    plain = [_plain(item) for item in value] if isinstance(value, list) else _plain(value)
    typer.echo(json.dumps(plain, indent=2, ensure_ascii=False))


def _plain(profile: Any) -> Any:
    return dataclasses.asdict(profile)
