"""A scenario with every number in place: model, data, devices, links, costs, and the cuts that fit.

Whatever can be wrong with a scenario is found here or before, so that a run that starts can finish.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import platformdirs

from devices.fleets import Fleet
from devices.problems import Findings
from devices.profiles import DeviceProfile
from simulator.caveats import missing_performance, unused_device, unused_server
from simulator.costs.cost import ProfiledCosts
from simulator.costs.energy import Powers, powers_of
from simulator.costs.fit import Fit, fit
from simulator.costs.memory import MemoryModel
from simulator.costs.pace import Variation
from simulator.costs.passes import check_measured
from simulator.data.client_data import ClientData
from simulator.data.divided_text import DividedText, divide
from simulator.data.drawn_lengths import drawn
from simulator.hardware import Hardware, hardware, under
from simulator.models import Models, beside, blamed_on, models
from simulator.network.connections import Connections, ServerLinks
from simulator.own_code import OwnCode, own_code
from simulator.participation.availability import AvailabilityModel
from simulator.participation.selection import check_selection
from simulator.scenario import Scenario
from simulator.sections.dataset import DatasetSection
from simulator.sections.machines import ServerSection
from simulator.sections.policy import MovingPolicy, OwnPolicy, SplitFTPolicy
from simulator.sections.protocol import OVERLAPPING, UNSPLIT
from simulator.serving import serving
from workloads.aggregators import FORGET_MOMENTS
from workloads.counts import FLASH_ATTENTION, PLAIN_ATTENTION
from workloads.data import SHIPPED_DATASETS, DatasetSpec, check_source, load_dataset
from workloads.known_shapes import KnownShape
from workloads.models import ModelFiles, resolve_model
from workloads.ranks import LoraSpec
from workloads.shapes import ModelShape
from workloads.tasks import RULES_WITH_AUXILIARY_HEAD, RULES_WITH_CLIENT_HEAD, RULES_WITH_SHARED_SERVER

CACHE = platformdirs.user_cache_path("splitft")

OnTokens = Callable[[int, int], None]
"""Told how many samples are tokenised and how many there are."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a run works with.

    Attributes:
        scenario: what was asked for.
        models: the one that learns and the one that is charged for.
        fleet, server, server_links: the hardware and the connections.
        connections: how these are shared and vary.
        availability: when clients can be reached.
        data: who has which samples.
        costs: seconds and bytes of everything that a protocol does.
        memory: bytes on either side of the cut.
        fit: which cuts fit, and who takes no part because none does.
        variation: how computing times differ from those modelled.
        powers: for each device of the fleet's table, what it takes in each of its states; none where the protocol lets
            a device be in several at once.
        notes: what a user should know of how the scenario was read.
        own_code: the user's own functions that the scenario names, by key.
    """

    scenario: Scenario
    models: Models
    fleet: Fleet
    server: DeviceProfile
    server_links: ServerLinks
    connections: Connections
    availability: AvailabilityModel
    data: ClientData
    costs: ProfiledCosts
    memory: MemoryModel
    fit: Fit
    variation: Variation
    powers: tuple[Powers | None, ...]
    notes: tuple[str, ...]
    own_code: Mapping[str, OwnCode]

    @property
    def model(self) -> ModelFiles | KnownShape:
        """Return the base model."""
        return self.models.model

    @property
    def files(self) -> ModelFiles:
        """Return the base model's files, for who trains it."""
        assert isinstance(self.model, ModelFiles)  # nobody trains a shape: `models` refuses that
        return self.model

    @property
    def text(self) -> DividedText:
        """Return the samples, for who trains on them."""
        assert isinstance(self.data, DividedText)  # nobody trains on lengths: a scenario refuses that
        return self.data

    @property
    def shape(self) -> ModelShape:
        """Return the base model's sizes."""
        return self.models.shape

    @property
    def lora(self) -> LoraSpec:
        """Return the adapters of the base model."""
        return self.models.lora

    @cached_property
    def serving(self) -> ServerSection:
        """Return how the server serves."""
        return serving(self.scenario)

    @property
    def is_split(self) -> bool:
        """Return whether the protocol cuts the model, so that a policy decides where."""
        return self.scenario.protocol.kind not in UNSPLIT

    @property
    def min_cut(self) -> int:
        """Return the fewest blocks that a client may hold."""
        policy = self.scenario.policy
        return policy.min_cut if isinstance(policy, MovingPolicy) else 1

    @property
    def max_cuts(self) -> tuple[int, ...]:
        """Return for each device of the fleet's table the deepest cut that its memory and the scenario allow."""
        return self.fit.max_cuts

    def least_cut(self, client: int) -> int:
        """Return the fewest blocks that a client may hold: the scenario's, or fewer if no more fit."""
        return min(self.min_cut, self.max_cut(client))

    def max_cut(self, client: int) -> int:
        """Return the most blocks that a client may hold."""
        return self.max_cuts[int(self.fleet.device_index[client])]

    @property
    def decide_every(self) -> int:
        """Return how many rounds pass between decisions on cuts."""
        policy = self.scenario.policy
        return policy.every if isinstance(policy, MovingPolicy) else 1

    @property
    def keeps_moments(self) -> bool:
        """Return whether the optimizer's moments of a client outlive a round."""
        kept = self.scenario.workload.optimizer.state == "kept"
        return kept and self.scenario.protocol.aggregator not in FORGET_MOMENTS

    @property
    def policy_reads_performance(self) -> bool:
        """Return whether clients have to measure themselves before cuts are decided, and are charged for it."""
        if not self.is_split:
            return False
        match self.scenario.policy:
            case SplitFTPolicy(gamma_perf=gamma):
                return gamma > 0
            case OwnPolicy(reads_performance=reads):
                return reads
            case _:
                return False


def resolve(
    scenario: Scenario,
    *,
    catalogue: Sequence[Path] = (),
    on_tokens: OnTokens | None = None,
    cache: Path = CACHE,
    must_fit: bool = True,
) -> Setting:
    """Return everything that a run of the scenario works with.

    Args:
        scenario: what to run.
        catalogue: folders with the user's own profiles, besides the scenario's own folder.
        on_tokens: told about progress where the dataset has to be tokenised.
        cache: folder for tokenised datasets.
        must_fit: whether a scenario that does not fit into its devices is refused; else `Setting.fit` has why, and
            the setting is to be looked at, not run.

    Raises:
        InputError: something that the scenario names cannot be found or used, or does not fit together; everything
            that can be known of it is told.
    """
    with scenario.placing_problems():
        return _resolved(scenario, catalogue, on_tokens, cache, must_fit=must_fit)


def _resolved(
    scenario: Scenario, catalogue: Sequence[Path], on_tokens: OnTokens | None, cache: Path, *, must_fit: bool
) -> Setting:
    found = Findings()
    used = found.find(lambda: models(scenario))
    machines = found.find(lambda: hardware(scenario, catalogue))
    code = found.find(lambda: own_code(scenario))
    found.find(lambda: check_selection(scenario.selection, scenario.fleet.num_clients))
    costs = found.find(lambda: costs_of(scenario, used(), machines().fleet, machines().server))
    data = found.find(lambda: _data(scenario, used, on_tokens, cache))
    memory = found.find(lambda: _memory(scenario, used(), data().longest_tokens))
    measured = found.find(lambda: _measured(scenario, used(), machines(), data().longest_tokens))
    fits = found.find(lambda: fit(scenario, memory(), machines().fleet, machines().server))
    if must_fit or found:
        found.find(lambda: fits().check())
    found.tell()
    return Setting(
        scenario=scenario,
        models=used(),
        fleet=machines().fleet,
        server=machines().server,
        server_links=machines().server_links,
        connections=machines().connections,
        availability=machines().availability,
        data=data(),
        costs=costs(),
        memory=memory(),
        own_code=code(),
        fit=fits(),
        variation=machines().variation,
        powers=() if scenario.protocol.kind in OVERLAPPING else powers_of(machines().fleet.device_table),
        notes=(
            *(own.words for own in code().values()),
            *scenario.notes,
            *machines().notes,
            *_tokenizer_notes(used().model, data()),
            *_moment_notes(scenario),
            *_server_notes(scenario),
            *_cost_only_notes(scenario),
            *measured(),
            *fits().notes,
            *_policy_notes(scenario),
        ),
    )


def _measured(scenario: Scenario, used: Models, machines: Hardware, longest_tokens: int) -> list[str]:
    devices = (*machines.fleet.device_table, machines.server)
    largest = scenario.workload.batch_size * longest_tokens
    with under("workload.max_length_tokens"):
        return check_measured(devices, used.charged_shape, scenario.workload.dtype, largest)


def _memory(scenario: Scenario, used: Models, longest_tokens: int) -> MemoryModel:
    return MemoryModel(
        shape=used.charged_shape,
        lora=used.charged_lora,
        learning_blocks=used.shape.num_blocks,
        dtype=scenario.workload.dtype,
        batch_size=scenario.workload.batch_size,
        length_tokens=longest_tokens,
        checkpointing=scenario.workload.gradient_checkpointing,
        is_split=scenario.protocol.kind not in UNSPLIT,
        has_server_copies=scenario.protocol.kind not in RULES_WITH_SHARED_SERVER,
        has_auxiliary_head=scenario.protocol.kind in RULES_WITH_AUXILIARY_HEAD,
        has_client_head=scenario.protocol.kind in RULES_WITH_CLIENT_HEAD,
    )


def _data(scenario: Scenario, used: Callable[[], Models], on_tokens: OnTokens | None, cache: Path) -> ClientData:
    workload, num_clients = scenario.workload, scenario.fleet.num_clients
    if not isinstance(workload.dataset, DatasetSection):
        return drawn(scenario, workload.dataset, num_clients)
    spec = DatasetSpec(**dataclasses.asdict(workload.dataset))
    with blamed_on("workload.dataset.source", workload.dataset.source):
        spec = dataclasses.replace(spec, source=beside(scenario, spec.source, SHIPPED_DATASETS))
        check_source(spec)  # also where the model cannot be found, whose tokenizer reads it
    model = used().model
    # A model known by its shape has no tokenizer: the bundled one's lengths stand in.
    reader = resolve_model("tiny") if isinstance(model, KnownShape) else model
    eos_token_id = _first(reader.config.get("eos_token_id"))
    with blamed_on("workload.dataset.source", workload.dataset.source):
        dataset = load_dataset(
            spec,
            reader.tokenizer_file,
            max_length_tokens=workload.max_length_tokens,
            eos_token_id=eos_token_id,
            cache_dir=cache / "datasets",
            progress=on_tokens,
        )
    with blamed_on("workload.partition.min_samples", workload.partition.min_samples):
        return divide(
            scenario,
            dataset,
            num_clients,
            tokenizer_digest=reader.tokenizer_digest,
            pad_token_id=eos_token_id or 0,
        )


def _tokenizer_notes(model: ModelFiles | KnownShape, data: ClientData) -> list[str]:
    if isinstance(model, KnownShape) and isinstance(data, DividedText):
        return [f"model '{model.name}' has no tokenizer here: the text is as long as tiny's tokenizer makes it"]
    return []


def _moment_notes(scenario: Scenario) -> list[str]:
    aggregator = scenario.protocol.aggregator
    if aggregator in FORGET_MOMENTS and scenario.workload.optimizer.state == "kept":
        return [f"protocol.aggregator {aggregator}: moments of the optimizer start afresh each round (state: reset)"]
    return []


def _server_notes(scenario: Scenario) -> list[str]:
    unused = unused_server(scenario)
    return [unused] if unused else []


def _cost_only_notes(scenario: Scenario) -> list[str]:
    missing, unused = missing_performance(scenario), unused_device(scenario)
    return [*([f"the policy's performance term is {missing}"] if missing else []), *([unused] if unused else [])]


def _policy_notes(scenario: Scenario) -> list[str]:
    if scenario.protocol.kind in UNSPLIT:
        return [f"protocol {scenario.protocol.kind} does not cut the model: policy {scenario.policy.kind} is not used"]
    return []


def _first(token_id: object) -> int | None:
    """Return a token id of a config.json, which may state none, one or several."""
    if isinstance(token_id, list):
        token_id = token_id[0] if token_id else None
    return token_id if isinstance(token_id, int) else None


def costs_of(scenario: Scenario, used: Models, fleet: Fleet, server: DeviceProfile) -> ProfiledCosts:
    """Return what a scenario charges for on these machines."""
    workload = scenario.workload
    with under("workload.dtype"):
        return ProfiledCosts(
            shape=used.charged_shape,
            lora=used.charged_lora,
            learning_blocks=used.shape.num_blocks,
            dtype=workload.dtype,
            activation_codec=workload.codec.up,
            gradient_codec=workload.codec.down,
            device_table=fleet.device_table,
            device_index=fleet.device_index,
            server=server,
            aggregator=scenario.protocol.aggregator,
            kernel=FLASH_ATTENTION if scenario.costs.attention == "flash" else PLAIN_ATTENTION,
            checkpointing=workload.gradient_checkpointing,
            has_client_head=scenario.protocol.kind in RULES_WITH_AUXILIARY_HEAD | RULES_WITH_CLIENT_HEAD,
        )
