"""A scenario with every number in place: model, data, devices, links, costs, and the cuts that fit.

Whatever can be wrong with a scenario is found here or before, so that a run that starts can finish.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from devices.fleets import Fleet
from devices.problems import InputError, Problem
from devices.profiles import DeviceProfile
from simulator.client_data import ClientData, divide
from simulator.cost import ProfiledCosts
from simulator.hardware import hardware, max_cuts, under
from simulator.memory import MemoryModel
from simulator.scenario import Scenario
from simulator.world import ServerLinks
from workloads.config_json import ConfigError
from workloads.data import DataError, DatasetSpec, load_dataset
from workloads.models import ModelError, ModelFiles, resolve_model
from workloads.ranks import LoraSpec
from workloads.shapes import ModelShape, lora_targets

CACHE = platformdirs.user_cache_path("splitft")

OnTokens = Callable[[int, int], None]
"""Told how many samples are tokenised and how many there are."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a run works with.

    Attributes:
        scenario: what was asked for.
        model, shape: the base model's files, and its sizes.
        lora: the adapters.
        fleet, server, server_links: the hardware and the connections.
        data: who has which samples.
        costs: seconds and bytes of everything that a protocol does.
        memory: bytes on either side of the cut.
        max_cuts: for each device of the fleet's table, the deepest cut that its memory and the scenario allow.
        notes: what a user should know of how the scenario was read.
    """

    scenario: Scenario
    model: ModelFiles
    shape: ModelShape
    lora: LoraSpec
    fleet: Fleet
    server: DeviceProfile
    server_links: ServerLinks
    data: ClientData
    costs: ProfiledCosts
    memory: MemoryModel
    max_cuts: tuple[int, ...]
    notes: tuple[str, ...]

    @property
    def min_cut(self) -> int:
        """Return the fewest blocks that a client may hold."""
        policy = self.scenario.policy
        return policy.min_cut if policy.kind == "splitft" else 1

    def max_cut(self, client: int) -> int:
        """Return the most blocks that a client may hold."""
        return self.max_cuts[int(self.fleet.device_index[client])]

    @property
    def decide_every(self) -> int:
        """Return how many rounds pass between decisions on cuts."""
        policy = self.scenario.policy
        return policy.every if policy.kind == "splitft" else 1

    @property
    def policy_reads_performance(self) -> bool:
        """Return whether clients have to measure themselves before cuts are decided, and are charged for it."""
        policy = self.scenario.policy
        return policy.kind == "splitft" and policy.gamma_perf > 0


def resolve(
    scenario: Scenario, *, catalogue: Sequence[Path] = (), on_tokens: OnTokens | None = None, cache: Path = CACHE
) -> Setting:
    """Return everything that a run of the scenario works with.

    Args:
        scenario: what to run.
        catalogue: folders with the user's own profiles, besides the scenario's own folder.
        on_tokens: told about progress where the dataset has to be tokenised.
        cache: folder for tokenised datasets.

    Raises:
        InputError: something that the scenario names cannot be found or used, or does not fit together.
    """
    model, shape, lora = _model(scenario)
    machines = hardware(scenario, catalogue)
    fleet, server = machines.fleet, machines.server
    with under("workload.dtype"):
        costs = _costs(scenario, shape, lora, fleet, server)
    data = _data(scenario, model, len(fleet), on_tokens, cache)
    memory = MemoryModel(
        shape=shape,
        lora=lora,
        dtype=scenario.workload.dtype,
        batch_size=scenario.workload.batch_size,
        length_tokens=int(data.dataset.lengths.max()),
    )
    return Setting(
        scenario=scenario,
        model=model,
        shape=shape,
        lora=lora,
        fleet=fleet,
        server=server,
        server_links=machines.server_links,
        data=data,
        costs=costs,
        memory=memory,
        max_cuts=max_cuts(scenario, memory, fleet, server),
        notes=(*scenario.notes, *machines.notes),
    )


def _model(scenario: Scenario) -> tuple[ModelFiles, ModelShape, LoraSpec]:
    workload, lora = scenario.workload, scenario.workload.lora
    with _blamed_on("workload.model", workload.model):
        model = resolve_model(_beside(scenario, workload.model))
        shape = ModelShape.from_config(model.config)
    with _blamed_on("workload.lora.targets", lora.targets):
        targets = lora_targets(shape, lora.targets)
    deepest = shape.num_blocks - 1
    rules = [
        (
            workload.max_length_tokens > shape.max_positions,
            "workload.max_length_tokens",
            workload.max_length_tokens,
            f"{model.name} takes at most {shape.max_positions} tokens",
        ),
        (
            lora.rank > min(min(linear.d_in, linear.d_out) for linear in targets),
            "workload.lora.rank",
            lora.rank,
            f"exceeds the width of an adapted layer of {model.name}",
        ),
        (
            deepest < 1,
            "workload.model",
            workload.model,
            "has a single block: there is nothing to split",
        ),
        *(
            (cut > deepest, key, cut, f"{model.name} has {shape.num_blocks} blocks: a cut is from 1 to {deepest}")
            for key, cut in _stated_cuts(scenario)
        ),
    ]
    problems = [Problem(message, key=key, value=value) for broken, key, value, message in rules if broken]
    if problems:
        raise InputError(*problems)
    return (
        model,
        shape,
        LoraSpec(targets=targets, rank=lora.rank, cut_rank=lora.cut_rank, cut_rank_sides=lora.cut_rank_sides),
    )


def _stated_cuts(scenario: Scenario) -> list[tuple[str, int]]:
    """Return every cut that the scenario names, with its key."""
    policy = scenario.policy
    match policy.kind:
        case "fixed":
            return [("policy.cut", policy.cut)]
        case "per-device":
            named = [(f"policy.cuts.{device}", cut) for device, cut in policy.cuts.items()]
            return [("policy.default", policy.default), *named]
        case _:
            bounds = [("policy.initial_cut", policy.initial_cut), ("policy.min_cut", policy.min_cut)]
            return [*bounds, *([] if policy.max_cut is None else [("policy.max_cut", policy.max_cut)])]


def _beside(scenario: Scenario, name: str) -> str:
    """Return a file or folder that the scenario names relative to itself as one that can be found from anywhere."""
    if scenario.folder is not None and (scenario.folder / name).exists():
        return str(scenario.folder / name)
    return name


def _data(
    scenario: Scenario, model: ModelFiles, num_clients: int, on_tokens: OnTokens | None, cache: Path
) -> ClientData:
    workload = scenario.workload
    spec = DatasetSpec(**dataclasses.asdict(workload.dataset))
    eos_token_id = _first(model.config.get("eos_token_id"))
    with _blamed_on("workload.dataset", workload.dataset.source):
        dataset = load_dataset(
            dataclasses.replace(spec, source=_beside(scenario, spec.source)),
            model.tokenizer_file,
            max_length_tokens=workload.max_length_tokens,
            eos_token_id=eos_token_id,
            cache_dir=cache / "datasets",
            progress=on_tokens,
        )
    with _blamed_on("workload.partition", workload.partition.kind):
        return divide(scenario, dataset, num_clients, pad_token_id=eos_token_id or 0)


def _first(token_id: object) -> int | None:
    """Return a token id of a config.json, which may state none, one or several."""
    if isinstance(token_id, list):
        token_id = token_id[0] if token_id else None
    return token_id if isinstance(token_id, int) else None


@contextmanager
def _blamed_on(key: str, value: object) -> Iterator[None]:
    """Turn what the workload's modules complain about into a problem of a scenario's key."""
    try:
        yield
    except (ConfigError, DataError, ModelError, ValueError) as error:
        raise InputError(Problem(str(error), key=key, value=value)) from None


def _costs(scenario: Scenario, shape: ModelShape, lora: LoraSpec, fleet: Fleet, server: DeviceProfile) -> ProfiledCosts:
    workload = scenario.workload
    return ProfiledCosts(
        shape=shape,
        lora=lora,
        dtype=workload.dtype,
        activation_codec=workload.codec.activations,
        gradient_codec=workload.codec.gradients,
        device_table=fleet.device_table,
        device_index=fleet.device_index,
        server=server,
    )
