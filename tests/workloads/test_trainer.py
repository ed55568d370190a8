"""Split training against an ordinary PEFT loop, to the bit; what a client keeps; what measuring reports."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from tests.workloads.reference import (
    ALPHA,
    BLOCKS,
    PEFT_WARNING,
    RANK,
    PeftLoop,
    first_rows,
    random_batch,
    save_model,
    targets_of,
    whole_loss,
)
from tests.workloads.small_models import single_thread
from workloads.batches import Batch
from workloads.codec_bytes import FP32
from workloads.export import AdapterSettings, write_adapter
from workloads.lora import block_of
from workloads.models import ModelFiles, resolve_model
from workloads.numerics import numerics_id
from workloads.ranks import block_ranks
from workloads.tasks import AggregateTask, EvalTask, InitialTask, OptimizerSpec, Recipe, TrainTask
from workloads.trainer import TorchTrainer

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings(PEFT_WARNING)]

LEARNING_RATE = 1e-2
CUTS = range(1, BLOCKS)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with single_thread():
        yield


@pytest.fixture(scope="module")
def llama(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    return save_model("llama", tmp_path_factory.mktemp("llama"))


def recipe_for(files: ModelFiles, **changes: Any) -> Recipe:
    """Return a plain recipe; changes may name fields of the recipe or of its optimizer."""
    optimizer = OptimizerSpec(
        learning_rate=LEARNING_RATE,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0.0,
        schedule="constant",
        total_steps=None,
        state="kept",
        max_grad_norm=None,
    )
    of_optimizer = {f.name: changes.pop(f.name) for f in dataclasses.fields(OptimizerSpec) if f.name in changes}
    recipe = Recipe(
        model_digest=files.model_digest,
        tokenizer_digest=files.tokenizer_digest,
        dtype="float32",
        targets=targets_of("llama"),
        rank=RANK,
        alpha=ALPHA,
        adapter_seed=0,
        optimizer=dataclasses.replace(optimizer, **of_optimizer),
        dropout=0.0,
        activation_codec=FP32,
        gradient_codec=FP32,
        learning_rule="sfl-v1",
        numerics=numerics_id("cpu", "float32"),
    )
    return dataclasses.replace(recipe, **changes)


class Rounds:
    """Rounds of one trainer in which clients hand in what they trained."""

    def __init__(self, files: ModelFiles, device: str = "cpu", **changes: Any) -> None:
        self.recipe = recipe_for(files, **changes)
        self.trainer = TorchTrainer(self.recipe, files, device=device)
        self.adapter = self.trainer.initial(InitialTask(recipe=self.recipe))
        self.last: str | None = None
        self.num_steps = 0

    def task(self, batches: Sequence[Batch], cut: int, ranks: Sequence[int] | None = None) -> TrainTask:
        return TrainTask(
            recipe=self.recipe,
            adapter=self.adapter,
            moments=self.last if self.recipe.optimizer.state == "kept" else None,
            first_step=self.num_steps,
            batches=tuple(batches),
            ranks=tuple(ranks or (RANK,) * BLOCKS),
            cut=cut,
        )

    def train(self, batches: Sequence[Batch], cut: int, ranks: Sequence[int] | None = None) -> tuple[float, ...]:
        """Let the one client train, aggregate, and return the losses."""
        [result] = self.trainer.train([self.task(batches, cut, ranks)])
        self.last, self.num_steps = result.key, self.num_steps + len(batches)
        self.adapter = self.trainer.aggregate(
            AggregateTask(recipe=self.recipe, rule="segment", base=self.adapter, updates=(result.key,), weights=(1.0,))
        )
        return result.losses

    def evaluate(self, batches: Sequence[Batch], key: str | None = None) -> float:
        task = EvalTask(recipe=self.recipe, adapter=key or self.adapter, batches=tuple(batches))
        return self.trainer.evaluate([task])[0].loss

    def export(self, folder: Path) -> None:
        recipe = self.recipe
        settings = AdapterSettings(
            base_model="base",
            revision=None,
            family="llama",
            targets=recipe.targets,
            rank=recipe.rank,
            alpha=recipe.alpha,
            dropout=recipe.dropout,
        )
        write_adapter(settings, self.trainer.get(self.adapter), folder)

    @property
    def values(self) -> dict[str, torch.Tensor]:
        return self.trainer.state(self.adapter)


def three_rounds() -> list[list[Batch]]:
    return [[random_batch(10 * r + s) for s in range(2)] for r in range(3)]


@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
@pytest.mark.parametrize("cut", CUTS)
def test_one_client_at_any_cut_learns_what_an_ordinary_peft_loop_learns(
    llama: ModelFiles, cut: int, weight_decay: float
) -> None:
    ranks = block_ranks(BLOCKS, cut, RANK, 2, "both")
    split = Rounds(llama, weight_decay=weight_decay)
    initial = split.values
    whole = PeftLoop(llama, initial, ranks, targets_of("llama"), lr=LEARNING_RATE, weight_decay=weight_decay)
    for batches in three_rounds():
        assert split.train(batches, cut, ranks) == whole.run(batches)
    for key, expected in whole.adapter.items():
        rank = ranks[block_of(key)]
        assert torch.equal(first_rows(split.values[key], key, rank), expected)
        assert not torch.equal(expected, first_rows(initial[key], key, rank))  # something was learned
        beyond = slice(rank, None) if "lora_A" in key else (slice(None), slice(rank, None))
        assert torch.equal(split.values[key][beyond], initial[key][beyond])


def test_the_bundled_model_learns_what_an_ordinary_peft_loop_learns() -> None:
    files = resolve_model("tiny")
    ranks = block_ranks(8, 3, RANK, 2, "both")
    split = Rounds(files, weight_decay=0.01)
    whole = PeftLoop(files, split.values, ranks, targets_of("llama"), lr=LEARNING_RATE, weight_decay=0.01)
    for batches in three_rounds():
        assert split.train(batches, 3, ranks) == whole.run(batches)
    assert all(
        torch.equal(first_rows(split.values[key], key, ranks[block_of(key)]), expected)
        for key, expected in whole.adapter.items()
    )


def test_a_moving_cut_changes_nothing_where_all_ranks_are_equal(llama: ModelFiles) -> None:
    # The moments of a block go with it from one part's optimizer to the other's.
    split = Rounds(llama, weight_decay=0.01)
    whole = PeftLoop(llama, split.values, (RANK,) * BLOCKS, targets_of("llama"), lr=LEARNING_RATE, weight_decay=0.01)
    for cut, batches in zip((1, 3, 2), three_rounds(), strict=True):
        assert split.train(batches, cut) == whole.run(batches)
    assert all(torch.equal(split.values[key], expected) for key, expected in whole.adapter.items())


def test_rows_that_rest_keep_their_moments_until_they_are_trained_again(llama: ModelFiles) -> None:
    # Block 0 trains all rows, then the first 2, then all; a plain AdamW over the full rows, whose resting rows are put
    # back after each round, is the reference. The step count is the client's, not the row's.
    of_round = [(RANK,) * BLOCKS, (2, *(RANK,) * (BLOCKS - 1)), (RANK,) * BLOCKS]
    split = Rounds(llama)
    reference = {key: value.clone().requires_grad_() for key, value in split.values.items()}
    adamw = torch.optim.AdamW(reference.values(), lr=LEARNING_RATE, weight_decay=0.0)
    whole = PeftLoop(llama, split.values, of_round[0], targets_of("llama"), lr=LEARNING_RATE)
    slots = {name.replace(".default.", "."): p for name, p in whole.model.named_parameters() if p.requires_grad}
    for ranks, batches in zip(of_round, three_rounds(), strict=True):
        split.train(batches, 2, ranks)
        for batch in batches:
            for key, slot in slots.items():  # the forward pass sees resting rows as zero
                slot.data.zero_()
                own = first_rows(slot.data, key, ranks[block_of(key)])
                own.copy_(first_rows(reference[key].detach(), key, ranks[block_of(key)]))
                slot.grad = None
            torch.autograd.backward(whole_loss(whole.model, batch))
            kept = snapshot(reference, adamw)
            for key, slot in slots.items():
                reference[key].grad = slot.grad.clone()
            adamw.step()
            restore_resting_rows(reference, adamw, kept, ranks)
    for key, expected in reference.items():
        torch.testing.assert_close(split.values[key], expected.detach(), rtol=1e-4, atol=1e-6)


Kept = dict[str, tuple[torch.Tensor, ...]]


def snapshot(reference: dict[str, torch.Tensor], adamw: torch.optim.AdamW) -> Kept:
    return {key: tuple(t.clone() for t in tensors(value, adamw)) for key, value in reference.items()}


def tensors(value: torch.Tensor, adamw: torch.optim.AdamW) -> tuple[torch.Tensor, ...]:
    state = adamw.state[value]
    moments = (state["exp_avg"], state["exp_avg_sq"]) if state else (torch.zeros_like(value),) * 2
    return (value.detach(), *moments)


def restore_resting_rows(
    reference: dict[str, torch.Tensor], adamw: torch.optim.AdamW, kept: Kept, ranks: Sequence[int]
) -> None:
    for key, value in reference.items():
        rank = ranks[block_of(key)]
        for now, before in zip(tensors(value, adamw), kept[key], strict=True):
            beyond = slice(rank, None) if "lora_A" in key else (slice(None), slice(rank, None))
            now[beyond] = before[beyond]


def test_reset_moments_start_afresh_in_each_round(llama: ModelFiles) -> None:
    split = Rounds(llama, state="reset")
    for batches in three_rounds():
        fresh = PeftLoop(llama, split.values, (RANK,) * BLOCKS, targets_of("llama"), lr=LEARNING_RATE, weight_decay=0.0)
        assert split.train(batches, 2) == fresh.run(batches)
        assert all(torch.equal(split.values[key], expected) for key, expected in fresh.adapter.items())


def test_what_one_client_learns_does_not_depend_on_who_trains_before_it(llama: ModelFiles) -> None:
    alone, together = Rounds(llama), Rounds(llama)
    first, second = three_rounds()[:2]
    other = together.task(first, cut=3, ranks=(1, 2, 3, 4))
    task = together.task(second, cut=1)
    expected = alone.trainer.train([task])
    assert together.trainer.train([other, task])[1:] == expected
    ours, theirs = (t.trainer.state(task.key) for t in (together, alone))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_training_draws_no_global_random_numbers(llama: ModelFiles) -> None:
    before = torch.get_rng_state()
    rounds = Rounds(llama, dropout=0.3)
    rounds.train(three_rounds()[0], cut=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_is_applied_and_repeats_with_the_task(llama: ModelFiles) -> None:
    batches = three_rounds()[0]
    plain, one, two = (Rounds(llama, dropout=dropout) for dropout in (0.0, 0.3, 0.3))
    torch.manual_seed(0)
    losses = one.train(batches, cut=1)
    torch.manual_seed(1)
    assert two.evaluate(batches) == two.evaluate(batches)  # without dropout
    assert two.train(batches, cut=1) == losses != plain.train(batches, cut=1)


def test_each_part_is_clipped_by_its_own_norm(llama: ModelFiles) -> None:
    # AdamW's first step is the same for gradients of any size; only eps tells sizes apart. With eps far above the
    # gradients the step is lr·g/eps, so the change of a part has the norm lr·max_grad_norm/eps.
    eps, max_grad_norm = 1e3, 1e-4
    rounds = Rounds(llama, eps=eps, max_grad_norm=max_grad_norm, learning_rate=1e5)
    before = rounds.values
    rounds.train([random_batch(0)], cut=1)
    for on_client in (True, False):
        of_part = [key for key in before if (block_of(key) < 1) == on_client]
        change = [(rounds.values[key] - before[key]).flatten() for key in of_part]
        assert torch.cat(change).norm().item() == pytest.approx(1e5 * max_grad_norm / eps, rel=1e-2)


def test_a_linear_schedule_goes_on_where_the_client_stopped(llama: ModelFiles) -> None:
    # Two rounds of 2 steps in a schedule of 4: factors 1, 3/4, 2/4, 1/4.
    split = Rounds(llama, schedule="linear", total_steps=4)
    whole = PeftLoop(llama, split.values, (RANK,) * BLOCKS, targets_of("llama"), lr=LEARNING_RATE, weight_decay=0.0)
    factors = iter((1.0, 0.75, 0.5, 0.25))
    for batches in three_rounds()[:2]:
        losses = split.train(batches, 2)
        for batch, loss in zip(batches, losses, strict=True):
            whole._adamw.param_groups[0]["lr"] = LEARNING_RATE * next(factors)
            assert whole.run([batch]) == (loss,)
    assert all(torch.equal(split.values[key], expected) for key, expected in whole.adapter.items())


def test_evaluation_reports_the_mean_over_tokens_and_the_share_that_is_right(llama: ModelFiles, tmp_path: Path) -> None:
    rounds = Rounds(llama)
    batches = [random_batch(1), random_batch(2, num_samples=5)]
    rounds.train(batches, cut=2)
    model = AutoModelForCausalLM.from_pretrained(llama.folder, dtype=torch.float32)
    rounds.export(tmp_path)
    loaded = PeftModel.from_pretrained(model, tmp_path).eval()
    losses, right = [], []
    for batch in batches:
        with torch.no_grad():
            logits = loaded(input_ids=torch.from_numpy(batch.ids)).logits.double()
        for row, ids, length in zip(logits, batch.ids, batch.lengths, strict=True):
            for position in range(length - 1):
                losses.append(-row[position].log_softmax(-1)[ids[position + 1]].item())
                right.append(row[position].argmax().item() == ids[position + 1])
    task = EvalTask(recipe=rounds.recipe, adapter=rounds.adapter, batches=tuple(batches))
    [result] = rounds.trainer.evaluate([task])
    assert result.key == task.key
    assert result.loss == pytest.approx(np.mean(losses), rel=1e-6)
    assert result.token_accuracy == np.mean(right)
    # every real token but each sample's first is predicted
    assert result.num_tokens == len(losses) == sum(b.num_tokens - len(b.lengths) for b in batches)


def test_an_exported_adapter_gives_peft_the_same_evaluation_loss(tmp_path: Path) -> None:
    files = resolve_model("tiny")
    rounds = Rounds(files)
    batch = random_batch(0, num_samples=2)
    rounds.train([batch], cut=2, ranks=block_ranks(8, 2, RANK, 2, "both"))
    rounds.export(tmp_path)
    base = AutoModelForCausalLM.from_pretrained(files.folder, dtype=torch.float32)
    loaded = PeftModel.from_pretrained(base, tmp_path).eval()
    with torch.no_grad():
        expected = whole_loss(loaded, batch).item()
    assert rounds.evaluate([batch]) == pytest.approx(expected, rel=1e-6)


def test_exports_of_one_adapter_are_the_same_bytes(llama: ModelFiles, tmp_path: Path) -> None:
    rounds = [Rounds(llama), Rounds(llama)]
    for i, run in enumerate(rounds):
        run.train(three_rounds()[0], cut=1)
        run.export(tmp_path / str(i))
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "1" / name).read_bytes()


def test_training_reports_real_tokens_and_a_loss_for_each_step(llama: ModelFiles) -> None:
    rounds = Rounds(llama)
    batches = three_rounds()[0]
    task = rounds.task(batches, cut=1)
    [result] = rounds.trainer.train([task])
    assert result.key == task.key
    assert len(result.losses) == len(batches)
    assert result.num_tokens == sum(int(batch.lengths.sum()) for batch in batches)


def test_released_states_are_forgotten_and_live_ones_kept(llama: ModelFiles) -> None:
    rounds = Rounds(llama)
    first = rounds.adapter
    rounds.train(three_rounds()[0], cut=1)
    rounds.trainer.release([rounds.adapter, str(rounds.last)])
    with pytest.raises(KeyError):
        rounds.trainer.state(first)
    rounds.train(three_rounds()[1], cut=1)  # from the kept adapter and moments


def test_bfloat16_computes_about_the_same(llama: ModelFiles) -> None:
    # bfloat16 has 8 significant bits; errors of single operations are up to 2^-9 = 0.2 %
    batches = three_rounds()[0]
    exact = Rounds(llama)
    rough = Rounds(llama, dtype="bfloat16", numerics=numerics_id("cpu", "bfloat16"))
    for key, value in rough.values.items():
        assert value.dtype == torch.float32
        assert torch.equal(value, exact.values[key])
    losses, expected = (rounds.train(batches, cut=2) for rounds in (rough, exact))
    assert losses == pytest.approx(expected, rel=1e-2)
    assert losses != expected
    assert all(value.dtype == torch.float32 for value in rough.values.values())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("bfloat16", 1e-2)])
def test_a_gpu_computes_about_the_same(llama: ModelFiles, dtype: str, tolerance: float) -> None:
    batches = three_rounds()[0]
    on_gpu = Rounds(llama, device="cuda", dtype=dtype, numerics=numerics_id("cuda", dtype))
    assert on_gpu.train(batches, cut=2) == pytest.approx(Rounds(llama).train(batches, cut=2), rel=tolerance)


def test_nothing_to_predict_is_an_error(llama: ModelFiles) -> None:
    one_token = Batch(ids=np.array([[5]], np.int32), labels=np.array([[5]], np.int32), lengths=np.array([1], np.int32))
    with pytest.raises(ValueError, match="no token to predict"):
        Rounds(llama).evaluate([one_token])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "float16"}, "dtype 'float16' cannot be trained in; allowed: float32, bfloat16"),
        ({"numerics": "elsewhere"}, "the recipe is for 'elsewhere', but this is 'cpu "),
    ],
)
def test_a_recipe_that_cannot_be_followed_here_is_refused(
    llama: ModelFiles, change: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        TorchTrainer(recipe_for(llama, **change), llama, device="cpu")


def test_a_task_of_another_recipe_is_refused(llama: ModelFiles) -> None:
    rounds = Rounds(llama)
    other = recipe_for(llama, alpha=7)
    train = dataclasses.replace(rounds.task(three_rounds()[0], cut=1), recipe=other)
    measure = EvalTask(recipe=other, adapter=rounds.adapter, batches=(random_batch(0),))
    for refused in (
        lambda: rounds.trainer.initial(InitialTask(recipe=other)),
        lambda: rounds.trainer.train([train]),
        lambda: rounds.trainer.evaluate([measure]),
    ):
        with pytest.raises(ValueError, match="the task follows another recipe than this trainer"):
            refused()


@pytest.mark.parametrize("device", ["tpu", "cuda:99", "gpu"])
def test_a_device_that_is_not_there_is_refused(llama: ModelFiles, device: str) -> None:
    with pytest.raises(ValueError, match=f"device '{device}' is not on this machine; allowed: auto, cpu"):
        TorchTrainer(recipe_for(llama), llama, device=device)
