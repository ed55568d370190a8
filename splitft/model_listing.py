"""`splitft models`: which models there are, and what they are."""

from typing import TYPE_CHECKING

import typer

from splitft.listing import Name
from splitft.show import console, table

if TYPE_CHECKING:
    from workloads.known_shapes import KnownShape
    from workloads.models import ModelFiles
    from workloads.shapes import ModelShape

models_app = typer.Typer(help="The models that are on this machine.", no_args_is_help=True, rich_markup_mode=None)


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
