"""Rules that leave something to the base model, and FFA-LoRA's frozen A, in real rounds."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from tests.workloads.cohort import Cohort, Job, same
from tests.workloads.reference import (
    ALPHA,
    BLOCKS,
    PEFT_WARNING,
    RANK,
    random_batch,
    random_model,
    save_model,
    targets_of,
    whole_loss,
)
from tests.workloads.small_models import single_thread
from workloads.batches import Batch
from workloads.lora import LoraModel, block_of, is_a, layer_of, rows
from workloads.models import ModelFiles
from workloads.ranks import block_ranks

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings(PEFT_WARNING)]

CUTS = {0: 1, 1: 2, 2: 3}
WEIGHTS = (1.0, 2.0, 5.0)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with single_thread():
        yield


@pytest.fixture(scope="module")
def folders(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, ModelFiles]:
    return {family: save_model(family, tmp_path_factory.mktemp(family)) for family in ("llama", "gpt2")}


def jobs(round_number: int = 0) -> dict[int, Job]:
    """Three clients of different cuts and ranks; nobody has all rows of block 2, which all three cuts touch."""
    return {
        client: Job(
            batches=[random_batch(100 * round_number + 10 * client + step) for step in range(2)],
            cut=cut,
            ranks=block_ranks(BLOCKS, cut, RANK, 2, "both"),
        )
        for client, cut in CUTS.items()
    }


def model_with(files: ModelFiles, added: Mapping[str, Tensor]) -> Any:
    """Return the base model with something added to some of its weights, by layer, [d_out, d_in]."""
    model = AutoModelForCausalLM.from_pretrained(files.folder, dtype=torch.float32)
    with torch.no_grad():
        for layer, values in added.items():
            module = model.get_submodule(layer.removeprefix("base_model.model."))
            module.weight += values.T if isinstance(module, Conv1D) else values
    return model.eval()


def loss_of(model: torch.nn.Module, batch: Batch) -> float:
    with torch.no_grad():
        return whole_loss(model, batch).item()


def mean_update(cohort: Cohort) -> dict[str, Tensor]:
    """Return scale · sum p_k B_k A_k of the last round by layer, over the clients' own rows, in double precision."""
    total: dict[str, Tensor] = {}
    for client, weight in zip(CUTS, WEIGHTS, strict=True):
        state = cohort.state(cohort.trained[client])
        for key in filter(is_a, state.adapter):
            rank = state.ranks[block_of(key)]
            a, b = (rows(state.adapter[k], k, rank).double() for k in (key, key.replace("lora_A", "lora_B")))
            part = ALPHA / RANK * weight / sum(WEIGHTS) * (b @ a)
            total[layer_of(key)] = total.get(layer_of(key), torch.zeros_like(part)) + part
    return total


@pytest.mark.parametrize("family", ["llama", "gpt2"])  # gpt2 keeps its weights transposed
@pytest.mark.parametrize("rule", ["flora", "fedex"])
def test_the_next_global_model_is_the_base_plus_the_mean_update(
    folders: Mapping[str, ModelFiles], family: str, rule: str
) -> None:
    cohort = Cohort(folders[family], family, rule=rule, state="reset", learning_rate=0.1)
    cohort.run_round(jobs(), WEIGHTS)
    batch = random_batch(7)
    expected = loss_of(model_with(folders[family], mean_update(cohort)), batch)
    assert cohort.loss([batch]) == pytest.approx(expected, abs=1e-5)
    assert abs(expected - loss_of(model_with(folders[family], {}), batch)) > 1e-3


@pytest.mark.parametrize("rule", ["flora", "fedex"])
def test_later_rounds_train_and_measure_on_the_base_that_the_clients_started_from(
    folders: Mapping[str, ModelFiles], rule: str
) -> None:
    llama = folders["llama"]
    cohort = Cohort(llama, rule=rule, state="reset")
    cohort.run_round(jobs(), WEIGHTS)
    delta, start = cohort.state().base_delta, cohort.adapter
    [[first, _], *_] = cohort.run_round(jobs(1), WEIGHTS)
    scaled = {layer: ALPHA / RANK * values for layer, values in delta.items()}
    reference = LoraReference(model_with(llama, scaled), cohort.state(start).adapter, jobs(1)[0].ranks)
    assert first == pytest.approx(reference.loss(jobs(1)[0].batches[0]), abs=1e-5)
    # A client measures its own adapter on that base too, not on the one that has come out of the round.
    own = LoraReference(model_with(llama, scaled), cohort.state(cohort.trained[2]).adapter, jobs(1)[2].ranks)
    assert cohort.own_loss(2, [random_batch(7)], CUTS[2]) == pytest.approx(own.loss(random_batch(7)), abs=1e-5)


class LoraReference:
    """A base model with an adapter at some ranks in it."""

    def __init__(self, base: Any, adapter: Mapping[str, Tensor], ranks: Any) -> None:
        self._model = base
        lora = LoraModel(base, targets=targets_of("llama"), rank=RANK, alpha=ALPHA, dropout=0.0)
        lora.put(adapter, ranks)

    def loss(self, batch: Batch) -> float:
        return loss_of(self._model, batch)


def test_flora_restarts_with_an_adapter_that_is_another_in_each_round(folders: Mapping[str, ModelFiles]) -> None:
    cohort = Cohort(folders["llama"], rule="flora", state="reset")
    seen = [cohort.values]
    for number in range(2):
        cohort.run_round(jobs(number), WEIGHTS)
        seen.append(cohort.values)
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert all(not torch.equal(seen[one][key], seen[other][key]) for key in filter(is_a, seen[0]))
    assert all(not values.any() for adapter in seen for key, values in adapter.items() if not is_a(key))


def test_clients_share_one_changed_base_and_the_own_one_comes_back_to_the_bit(
    folders: Mapping[str, ModelFiles],
) -> None:
    cohort = Cohort(folders["llama"], rule="fedex")
    first, batch = cohort.adapter, random_batch(7)
    before = cohort.loss([batch])
    cohort.run_round(jobs(), WEIGHTS)
    cohort.loss([batch])
    layers = [module for module in cohort.trainer._engine.base.modules() if hasattr(module, "base_layer")]
    changed = [layer.base_layer.weight.data_ptr() for layer in layers]
    cohort.run_round(jobs(1), WEIGHTS)
    assert [layer.base_layer.weight.data_ptr() for layer in layers] == changed  # not made again for each client
    assert cohort.loss([batch], first) == before
    assert [layer.base_layer.weight.data_ptr() for layer in layers] != changed


def test_a_delta_is_added_in_float32_to_a_base_of_fewer_bits() -> None:
    model = random_model("llama").to(torch.bfloat16)
    lora = LoraModel(model, targets=("q_proj",), rank=RANK, alpha=ALPHA, dropout=0.0)
    layer = model.model.layers[0].self_attn.q_proj.base_layer
    own = layer.weight.clone()
    delta = torch.full(own.shape, 2.0**-9)
    lora.shift_base({"base_model.model.model.layers.0.self_attn.q_proj": delta})
    # A sum in bfloat16 would round the delta's scaled value first, or lose it: scale 6 / 4 · 2^-9.
    assert torch.equal(layer.weight, (own.float() + 1.5 * 2.0**-9).bfloat16())
    lora.shift_base({})
    assert torch.equal(layer.weight, own)


def test_ffa_trains_and_changes_b_alone(folders: Mapping[str, ModelFiles]) -> None:
    cohort = Cohort(folders["llama"], rule="ffa", trains_a=False, weight_decay=0.1)
    before, batch = cohort.values, random_batch(7)
    unlearned = cohort.loss([batch])
    for number in range(2):
        cohort.run_round(jobs(number), WEIGHTS)
    client = cohort.state(cohort.trained[0])
    assert client.moments is not None
    assert not any(is_a(key) for key in client.moments.first)
    for values in (client.adapter, cohort.values):
        assert list(values) == list(before)
        assert same({k: v for k, v in values.items() if is_a(k)}, {k: v for k, v in before.items() if is_a(k)})
        assert not any(torch.equal(values[key], before[key]) for key in before if not is_a(key))
    assert cohort.loss([batch]) != unlearned


def test_ffa_is_exact(folders: Mapping[str, ModelFiles]) -> None:
    cohort = Cohort(folders["llama"], rule="ffa", trains_a=False)
    cohort.run_round(jobs(), WEIGHTS)
    expected = loss_of(model_with(folders["llama"], mean_update(cohort)), random_batch(7))
    assert cohort.loss([random_batch(7)]) == pytest.approx(expected, abs=1e-5)
