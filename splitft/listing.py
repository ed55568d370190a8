"""`splitft scenarios|models|devices|networks|fleets`: what can be named in a scenario, as tables and in detail."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from devices.catalogue.lookup import Catalogue
from devices.networks import Spread
from devices.profiles import Provenance
from splitft.show import GIB, console, mbit_per_s, milliseconds, table, tflops

if TYPE_CHECKING:
    from workloads.known_shapes import KnownShape
    from workloads.models import ModelFiles
    from workloads.shapes import ModelShape

CatalogueOption = Annotated[
    list[Path] | None, typer.Option("--catalogue", metavar="DIR", help="A folder with your own files.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print as JSON.")]
Name = Annotated[str, typer.Argument(metavar="ID")]

SAY_NOTHING_IF_NONE = {"throttle", "unusable"}  # None means that there is nothing of it; elsewhere that it is unknown


def _app(help_: str) -> typer.Typer:
    return typer.Typer(help=help_, no_args_is_help=True, rich_markup_mode=None)


scenarios_app = _app("The scenarios that come with splitft.")
models_app = _app("The models that are on this machine.")
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


@models_app.command("list")
def list_models() -> None:
    """List the models that are here, those that can be fetched, and those known by their shape."""
    from workloads.fetchable import FETCHABLE
    from workloads.known_shapes import shape_names
    from workloads.models import model_names

    rows: list[tuple[object, ...]] = []
    for name in model_names():
        model, shape = _model(name)
        where = _origin(model)["where"]
        rows.append((name, shape.family, f"{shape.num_parameters:,}", shape.num_blocks, shape.hidden_size, where))
    for name in sorted(FETCHABLE.keys() - set(model_names())):
        known, where = FETCHABLE[name], f"`splitft models fetch {name}` gets it"
        rows.append((name, known.family, f"{known.num_parameters:,}", "-", "-", where))
    for name in shape_names():
        if name not in {*FETCHABLE, *model_names()}:
            _, shape = _shape(name)
            size = f"{shape.num_parameters:,}"
            rows.append((name, shape.family, size, shape.num_blocks, shape.hidden_size, "shape alone"))
    headings = ["model", "family", "parameters", "blocks", "hidden size", "where"]
    caption = "shape alone: without weights, for workload.priced_as, or as the model of a cost-only run"
    console().print(table(headings, rows, caption=caption, optional=["hidden size", "family", "blocks"]))


@models_app.command("fetch")
def fetch_model(model: Name) -> None:
    """Download a model once and convert it; does nothing where it is already here."""
    from splitft.fetching import fetch

    fetch(model)


@models_app.command("show")
def show_model(model: Name) -> None:
    """Show a model: a name, a folder or a Hub id, or the path of a config.json."""
    from workloads.known_shapes import KnownShape

    known, shape = _shape(model)
    facts = {
        "family": shape.family,
        "parameters": shape.num_parameters,
        "blocks": shape.num_blocks,
        "hidden_size": shape.hidden_size,
        "linear_weights": shape.block.num_linear_weights,
        "vocabulary": shape.vocab_size,
        "longest_tokens": shape.max_positions,
    }
    if isinstance(known, KnownShape):
        facts |= {"weights": "none: known by its shape alone"}
    else:
        facts |= {
            **_origin(known),
            "weights": ", ".join(str(file) for file in known.weight_files),
            "revision": known.revision or "local",
            "digest": known.model_digest,
        }
    console().print(table(["", model], [(key, str(value)) for key, value in facts.items()]))


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
def check_device(file: Annotated[Path, typer.Argument(help="A YAML file of yours.")]) -> None:
    """Check a file of yours: a device, network or fleet."""
    from devices.catalogue.own_files import check_file

    profile = check_file(file)
    typer.echo(f"{file}: good: {type(profile).__name__.removesuffix('Profile').lower()} '{profile.id}'")
    _show(profile, as_json=False)


@networks_app.command("list")
def list_networks(catalogue: CatalogueOption = None, json_: JsonOption = False) -> None:
    """List networks: medians, and what is missing where one cannot be used yet."""
    found = Catalogue(catalogue or [])
    profiles = [found.network(name) for name in found.ids("networks")]
    if json_:
        _print_json(profiles)
        return
    rows = [
        (
            p.id,
            mbit_per_s(_median(p.downlink_bytes_per_s)),
            mbit_per_s(_median(p.uplink_bytes_per_s)),
            milliseconds(_median(p.rtt_s)),
            p.confidence,
            "" if p.usable else f"missing: {', '.join(p.missing)}",
        )
        for p in profiles
    ]
    headings = ["network", "down Mbit/s", "up Mbit/s", "RTT ms", "confidence", "unusable"]
    console().print(table(headings, rows, optional=["confidence", "unusable"]))


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


def _model(name: str) -> "tuple[ModelFiles, ModelShape]":
    from devices.problems import InputError, Problem
    from workloads.config_json import ConfigError
    from workloads.models import ModelError, resolve_model
    from workloads.shapes import ModelShape

    try:
        model = resolve_model(name)
        return model, ModelShape.from_config(model.config)
    except (ModelError, ConfigError) as error:
        raise InputError(Problem(str(error), value=name)) from None


def _shape(name: str) -> "tuple[ModelFiles | KnownShape, ModelShape]":
    """Return a model that is here, or else what is known of one by its shape."""
    from workloads.fetchable import FETCHABLE
    from workloads.known_shapes import is_shape, resolve_shape
    from workloads.models import model_names
    from workloads.shapes import ModelShape

    if name in model_names() or name in FETCHABLE or not is_shape(name):
        return _model(name)
    known = resolve_shape(name)
    return known, ModelShape.from_config(known.config)


def _origin(model: "ModelFiles") -> dict[str, str]:
    """Return where a model is from and, where that is known, what to know of its weights."""
    from workloads.fetchable import FETCHABLE
    from workloads.models import FETCHED_MODELS, SHIPPED_MODELS

    if model.folder.parent == SHIPPED_MODELS:
        return {"where": "bundled"}
    if model.folder.parent != FETCHED_MODELS:
        return {"where": str(model.folder)}
    known = FETCHABLE.get(model.name)
    return {"where": "fetched", **({"licence": known.licence, "note": known.note} if known else {})}


def _show(profile: Any, as_json: bool, hidden: tuple[str, ...] = ()) -> None:
    """Print the fields of a profile in base units, each with its origin."""
    if as_json:
        _print_json(profile)
        return
    provenance: Mapping[str, Provenance] = profile.provenance
    rows = []
    for key, value in _flat(profile):
        absent = key in SAY_NOTHING_IF_NONE and getattr(profile, key) is None
        if not absent and key.split(".")[0] not in {*hidden, "provenance"}:
            origin = provenance.get(key) or provenance.get(key.split(".")[0])
            rows.append((key, value, origin.kind if origin else "", origin.source if origin else ""))
    console().print(table([profile.id, "value (base units)", "kind", "source"], rows))


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
    origin = provenance.get(field)
    return "*" if origin is not None and origin.kind == "assumed" else ""


def _print_json(value: Any) -> None:
    plain = [_plain(item) for item in value] if isinstance(value, list) else _plain(value)
    typer.echo(json.dumps(plain, indent=2, ensure_ascii=False))


def _plain(profile: Any) -> Any:
    return dataclasses.asdict(profile)
