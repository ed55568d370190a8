"""What a user's own rule of aggregation may return, and what is said of anything else."""

import math

import pytest
import torch

from workloads.aggregate import Update
from workloads.rules import checked, copied

pytestmark = pytest.mark.torch

BASE = {"a": torch.zeros(2, 3), "b": torch.zeros(3, 2)}
ONES = {key: torch.ones_like(values) for key, values in BASE.items()}
UPDATES = [Update(adapter=ONES, ranks=(2,), weight=1.0)]


@pytest.mark.parametrize(
    ("merged", "why"),
    [
        (None, "expected a mapping from names to tensors, got NoneType"),
        (list(ONES.values()), "expected a mapping from names to tensors, got list"),
        ({"a": ONES["a"]}, "expected the names of the adapter's tensors, all and no others; see b"),
        ({**ONES, "c": ONES["a"]}, "expected the names of the adapter's tensors, all and no others; see c"),
        ({**ONES, 3: ONES["a"]}, "expected the names of the adapter's tensors, all and no others; see 3"),
        ({**ONES, "a": None}, "expected a dense tensor of floating-point numbers for a, got NoneType"),
        ({**ONES, "a": ONES["a"].numpy()}, "expected a dense tensor of floating-point numbers for a, got ndarray"),
        ({**ONES, "a": ONES["a"].int()}, r"expected a dense tensor .* for a, got torch\.int32"),
        ({**ONES, "a": ONES["a"].cfloat()}, r"expected a dense tensor .* for a, got torch\.complex64"),
        (
            {**ONES, "a": ONES["a"].to_sparse()},
            r"expected a dense tensor .* for a, got torch\.float32, torch\.sparse_coo",
        ),
        ({**ONES, "a": ONES["b"]}, r"expected the shape \[2, 3\] for a, got \[3, 2\]"),
        ({**ONES, "a": ONES["a"][:1]}, r"expected the shape \[2, 3\] for a, got \[1, 3\]"),
        ({**ONES, "a": ONES["a"] * math.nan}, "it has numbers that are not finite, made of finite ones"),
        ({**ONES, "a": ONES["a"].double() * 1e300}, "it has numbers that are not finite, made of finite ones"),
    ],
)
def test_what_a_rule_cannot_return_is_named(merged, why):
    with pytest.raises((TypeError, ValueError), match=f"^{why}"):
        checked(BASE, UPDATES, merged)


@pytest.mark.parametrize("spoil", [torch.Tensor.double, torch.Tensor.bfloat16, torch.nn.Parameter])
def test_what_a_rule_returns_becomes_tensors_like_those_of_the_adapter(spoil):
    merged = checked(BASE, UPDATES, {key: spoil(values) for key, values in reversed(ONES.items())})
    assert list(merged) == list(BASE)
    for key, values in merged.items():
        assert type(values) is torch.Tensor
        assert (values.dtype, values.requires_grad) == (torch.float32, False)
        assert torch.equal(values, ONES[key])


def test_what_a_rule_returns_shares_no_memory_with_anything():
    one = torch.ones(())
    merged = checked(BASE, UPDATES, {"a": one.expand(2, 3), "b": one.expand(3, 2)})
    merged["a"].zero_()
    assert one.item() == 1
    assert torch.equal(merged["b"], ONES["b"])


def test_a_rule_may_hand_on_what_has_diverged():
    diverged = {key: values * math.nan for key, values in ONES.items()}
    merged = checked(BASE, [*UPDATES, Update(adapter=diverged, ranks=(2,), weight=1.0)], diverged)
    assert merged["a"].isnan().all()


def test_copies_may_be_changed():
    base, updates = copied(BASE, UPDATES)
    base["a"].fill_(7)
    updates[0].adapter["a"].fill_(7)
    updates.clear()
    assert torch.equal(BASE["a"], torch.zeros(2, 3))
    assert torch.equal(UPDATES[0].adapter["a"], torch.ones(2, 3))
