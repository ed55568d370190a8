"""Training with a local loss, against one pass of the whole model whose graph is cut by a hook."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from tests.workloads.reference import BLOCKS, PEFT_WARNING, RANK, PeftLoop, random_batch, save_model
from tests.workloads.small_models import single_thread
from tests.workloads.test_trainer import LEARNING_RATE, Rounds
from workloads.batches import Batch
from workloads.models import ModelFiles

pytestmark = pytest.mark.filterwarnings(PEFT_WARNING)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with single_thread():
        yield


@pytest.fixture(scope="module")
def llama(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    return save_model("llama", tmp_path_factory.mktemp("llama"))


def loss_of(logits: Tensor, batch: Batch) -> Tensor:
    targets = torch.from_numpy(batch.labels).long()[:, 1:]
    return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), targets.flatten(), ignore_index=-100)


class HookedLoop(PeftLoop):
    """One pass, one optimizer; a hook behind the client's last block keeps its output and passes on a detached one."""

    def local_step(self, batch: Batch, cut: int) -> float:
        base, kept = self.model.get_base_model(), list[Tensor]()

        def detach(_block: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> object:
            hidden = output[0] if isinstance(output, tuple) else output
            kept.append(hidden)
            return (hidden.detach(), *output[1:]) if isinstance(output, tuple) else hidden.detach()

        hook = base.model.layers[cut - 1].register_forward_hook(detach)
        loss = loss_of(base(input_ids=torch.from_numpy(batch.ids), use_cache=False).logits, batch)
        hook.remove()
        auxiliary = loss_of(base.lm_head(base.model.norm(kept[0])), batch)
        torch.autograd.backward(loss + auxiliary)
        self._adamw.step()
        self._adamw.zero_grad()
        return loss.item()


@pytest.mark.parametrize("cut", [1, BLOCKS - 1])
def test_the_client_learns_from_its_own_head_and_the_server_from_what_it_is_sent(llama: ModelFiles, cut: int) -> None:
    rounds = Rounds(llama, learning_rule="local-loss")
    start = rounds.trainer.state(rounds.adapter)
    loop = HookedLoop(llama, start, (RANK,) * BLOCKS, rounds.recipe.targets, lr=LEARNING_RATE, weight_decay=0.0)
    batches = [random_batch(seed) for seed in range(3)]
    losses = rounds.train(batches, cut)
    torch.testing.assert_close(
        torch.tensor(losses), torch.tensor([loop.local_step(batch, cut) for batch in batches]), rtol=1e-6, atol=0
    )
    trained = rounds.trainer.state(rounds.adapter)
    for key, values in loop.adapter.items():
        torch.testing.assert_close(trained[key], values, rtol=1e-4, atol=1e-7)
        assert not torch.equal(values, start[key])


def test_it_is_another_training_than_with_the_gradient_of_the_server(llama: ModelFiles) -> None:
    batches = [random_batch(seed) for seed in range(2)]
    local, split = Rounds(llama, learning_rule="local-loss"), Rounds(llama)
    assert local.train(batches, 2)[0] == split.train(batches, 2)[0]  # before any step
    assert local.task(batches, 2).key != split.task(batches, 2).key
    assert local.task(batches, 2).key != local.task(batches, 1).key
    assert local.evaluate(batches) != split.evaluate(batches)
