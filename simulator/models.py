"""The models of a scenario: the one that learns, and the one that the clock charges for."""

import errno
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devices.problems import Findings, InputError, Problem, shown
from simulator.scenario import Scenario
from simulator.sections.policy import FixedPolicy, PerDevicePolicy
from workloads.aggregators import TRAIN_B_ALONE
from workloads.config_json import ConfigError
from workloads.data import DataError
from workloads.fetchable import FETCHABLE
from workloads.known_shapes import KnownShape, is_shape, resolve_shape, shape_names
from workloads.models import ModelError, ModelFiles, model_names, resolve_model
from workloads.pricing import priced_cut
from workloads.ranks import LoraSpec
from workloads.shapes import ModelShape, lora_targets


@dataclass(frozen=True, kw_only=True)
class PricedModel:
    """A model that is charged for.

    Attributes:
        name: what the user called it.
        digest: sha256 of its config.json's values.
        shape: its sizes.
        lora: the adapters that it would have.
    """

    name: str
    digest: str
    shape: ModelShape
    lora: LoraSpec


@dataclass(frozen=True, kw_only=True)
class Models:
    """Which models a run is about.

    Attributes:
        model: the base model's files; its shape alone where nothing is learned and it has no weights here.
        shape: its sizes.
        lora: the adapters.
        priced_as: the model that the clock charges for, where it is another one.
    """

    model: ModelFiles | KnownShape
    shape: ModelShape
    lora: LoraSpec
    priced_as: PricedModel | None

    @property
    def charged_shape(self) -> ModelShape:
        """Return the sizes of the model that the clock charges for."""
        return self.priced_as.shape if self.priced_as else self.shape

    @property
    def charged_lora(self) -> LoraSpec:
        """Return the adapters of the model that the clock charges for."""
        return self.priced_as.lora if self.priced_as else self.lora

    @property
    def content(self) -> dict[str, str | None]:
        """Return what identifies the models."""
        if isinstance(self.model, KnownShape):
            identity = {"model": self.model.digest, "model_revision": None}
        else:
            identity = {"model": self.model.model_digest, "model_revision": self.model.revision}
        return {**identity, **({"priced_as": self.priced_as.digest} if self.priced_as else {})}

    def priced_cut(self, cut: int) -> int:
        """Return the cut of the model that the clock charges for, for a cut of the one that learns."""
        return priced_cut(cut, self.shape.num_blocks, self.charged_shape.num_blocks)


def models(scenario: Scenario) -> Models:
    """Return the models of a scenario.

    Raises:
        InputError: a model cannot be found, or cannot be used as the scenario says.
    """
    found = Findings()
    base = found.find(lambda: _base(scenario))
    priced_as = found.find(lambda: _priced_as(scenario))
    found.tell()
    model, shape, lora = base()
    return Models(model=model, shape=shape, lora=lora, priced_as=priced_as())


def beside(scenario: Scenario, name: str, shipped: Collection[str] = ()) -> str:
    """Return a file or folder that the scenario names relative to itself as one that can be found from anywhere.

    A name that is `shipped` means what is shipped, whatever lies beside the scenario; `./name` means what lies there.
    """
    if name not in shipped and scenario.folder is not None and (scenario.folder / name).exists():
        return str(scenario.folder / name)
    return name


@contextmanager
def blamed_on(key: str, value: object) -> Iterator[None]:
    """Turn what the workload's modules complain about into a problem of a scenario's key."""
    try:
        yield
    except (ConfigError, DataError, ModelError, ValueError) as error:
        raise InputError(Problem(str(error), key=key, value=value)) from None
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise InputError(Problem(f"no file has so long a name: {shown(value)}", key=key, value=value)) from None


def _base(scenario: Scenario) -> tuple[ModelFiles | KnownShape, ModelShape, LoraSpec]:
    with blamed_on("workload.model", scenario.workload.model):
        model = _model(scenario)
        shape = ModelShape.from_config(model.config)
    lora = _lora(scenario, shape)
    problems = [*_problems(scenario, "workload.model", model.name, shape, lora), *_cut_problems(scenario, model, shape)]
    if problems:
        raise InputError(*problems)
    return model, shape, lora


def _priced_as(scenario: Scenario) -> PricedModel | None:
    name = scenario.workload.priced_as
    if name is None:
        return None
    with blamed_on("workload.priced_as", name):
        known = _priced_shape(beside(scenario, name, _known_names()))
        shape = ModelShape.from_config(known.config)
    lora = _lora(scenario, shape, f"priced_as {known.name}: ")
    if problems := _problems(scenario, "workload.priced_as", known.name, shape, lora):
        raise InputError(*problems)
    return PricedModel(name=known.name, digest=known.digest, shape=shape, lora=lora)


def _known_names() -> frozenset[str]:
    return frozenset({*model_names(), *FETCHABLE, *shape_names()})


def _model(scenario: Scenario) -> ModelFiles | KnownShape:
    name = beside(scenario, scenario.workload.model, _known_names())
    trains = scenario.execution.trainer == "torch"
    is_bare = name in _known_names() or ("/" not in name and not Path(name).is_dir())
    shape_will_do = name not in model_names() and (is_shape(name) or (is_bare and not trains))
    if not shape_will_do or (trains and name in FETCHABLE):
        return resolve_model(name)
    if trains:
        raise ModelError(
            f"model {name!r} is known by its shape alone: without weights it can be timed (execution.trainer: "
            f"cost-only) or charged for (workload.priced_as), but not trained. To train, name one of "
            f"{', '.join(model_names())}, the folder of a Hugging Face model, or a Hub id (org/name)"
        )
    return resolve_shape(name, others=model_names())


def _priced_shape(name: str) -> KnownShape:
    if name in model_names():
        return KnownShape(name=name, config=resolve_model(name).config)
    return resolve_shape(name, others=model_names())


def _lora(scenario: Scenario, shape: ModelShape, prefix: str = "") -> LoraSpec:
    section = scenario.workload.lora
    try:
        targets = lora_targets(shape, section.targets)
    except ValueError as error:
        raise InputError(Problem(f"{prefix}{error}", key="workload.lora.targets", value=section.targets)) from None
    return LoraSpec(
        targets=targets,
        rank=section.rank,
        cut_rank=section.cut_rank,
        cut_rank_sides=section.cut_rank_sides,
        dormant=section.dormant,
        trains_a=scenario.protocol.aggregator not in TRAIN_B_ALONE,
    )


def _problems(scenario: Scenario, key: str, name: str, shape: ModelShape, lora: LoraSpec) -> list[Problem]:
    """Return what a model cannot do that the scenario asks of it."""
    longest, rank = scenario.workload.max_length_tokens, scenario.workload.lora.rank
    narrowest = min(min(linear.d_in, linear.d_out) for linear in lora.targets)
    rules = [
        (
            longest > shape.max_positions,
            "workload.max_length_tokens",
            longest,
            f"{name} takes at most {shape.max_positions} tokens, got {longest}",
        ),
        (
            rank > narrowest,
            "workload.lora.rank",
            rank,
            f"the narrowest adapted layer of {name} is {narrowest} wide: a rank is at most that, got {rank}",
        ),
        (shape.num_blocks < 2, key, name, f"{name} has a single block: there is nothing to split"),
    ]
    return [Problem(message, key=place, value=value) for broken, place, value, message in rules if broken]


def _cut_problems(scenario: Scenario, model: ModelFiles | KnownShape, shape: ModelShape) -> list[Problem]:
    deepest = shape.num_blocks - 1
    message = f"{model.name} has {shape.num_blocks} blocks: a cut is from 1 to {deepest}"
    stated = [(key, cut) for key, cut in _stated_cuts(scenario) if cut > deepest]
    return [Problem(f"{message}, got {cut}", key=key, value=cut) for key, cut in stated]


def _stated_cuts(scenario: Scenario) -> list[tuple[str, int]]:
    """Return every cut that the scenario names, with its key."""
    match scenario.policy:
        case FixedPolicy(cut=cut):
            return [("policy.cut", cut)]
        case PerDevicePolicy(cuts=cuts, default=default):
            return [("policy.default", default), *((f"policy.cuts.{device}", cut) for device, cut in cuts.items())]
        case policy:
            stated = {key: getattr(policy, key, None) for key in ("initial_cut", "min_cut", "max_cut")}
            return [(f"policy.{key}", cut) for key, cut in stated.items() if cut is not None]
