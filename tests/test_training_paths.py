"""The training twin and its fast path: the same loss, gradients and running statistics, for every option."""

import copy
import itertools

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("training")

KINDS = ("AudioRepInceptionNeXt", "AudioInceptionNeXt")
ORDERS = ("time-frequency", "frequency-time")
SCALES = ((21,), (11,), (3,), (21, 11), (21, 3), (11, 3), (21, 11, 3))
SMALL = {"width": 2, "depths": (1, 1, 2, 1), "heads": {"verb": 3, "noun": 4}, "frames": 64, "dropout": 0.0}


def made(dtype=torch.float64, **options):
    import twin

    return twin.randomise(twin.Twin(**(SMALL | options))).to(dtype)


def log_mels(dtype=torch.float64, frames=64):
    return torch.randn(3, 1, frames, 128, generator=torch.Generator().manual_seed(1)).to(dtype) - 5


def loss_and_gradients(twin, forward, x):
    """The loss on fixed labels, {name: gradient}, and {name: running statistic} afterwards."""
    labels = {"verb": torch.tensor([0, 2, 1]), "noun": torch.tensor([3, 0, 1])}
    logits = forward(twin, x)
    loss = sum(torch.nn.functional.cross_entropy(logits[head], labels[head]) for head in labels)
    loss.backward()
    return loss.item(), {n: p.grad for n, p in twin.named_parameters()}, dict(twin.named_buffers())


def assert_near(found, expected, bound):
    """Each tensor differs by at most `bound` of its norm; of those that are zero but for rounding, of the largest."""
    assert found.keys() == expected.keys()
    least = 1e-3 * max(e.norm().item() for e in expected.values() if e.is_floating_point())
    for name, e in expected.items():
        apart = (found[name] - e).double().norm().item()
        assert apart <= bound * max(e.double().norm().item(), least), name


@pytest.mark.parametrize("kind, order", list(itertools.product(KINDS, ORDERS)))
@pytest.mark.parametrize("scales, expansion", [*((s, 4) for s in SCALES), ((21, 11, 3), 2), ((11, 3), 8)])
@pytest.mark.parametrize("dtype, bound", [(torch.float64, 1e-9), (torch.float32, 1e-3)], ids=["double", "single"])
def test_fast_is_the_twin(kind, order, scales, expansion, dtype, bound):
    import fast

    slow = made(dtype, kind=kind, order=order, scales=scales, expansion=expansion).train()
    quick, x = copy.deepcopy(slow), log_mels(dtype)
    expected = loss_and_gradients(slow, lambda twin, x: twin(x), x)
    found = loss_and_gradients(quick, lambda twin, x: fast.forward(twin, x, dtype), x)
    assert abs(found[0] - expected[0]) <= bound * expected[0]
    assert_near(found[1], expected[1], bound)
    assert_near(found[2], expected[2], bound)
    with torch.no_grad():  # and with the running statistics, on a longer input
        x = log_mels(dtype, 101)
        for head, p in slow.eval()(x).items():
            torch.testing.assert_close(fast.forward(quick.eval(), x, dtype)[head], p, rtol=0, atol=bound)


@pytest.mark.parametrize("kind", KINDS)
def test_kernels_that_differ_from_stage_to_stage(kind):
    import fast

    slow = made(kind=kind, time_kernels=(21, 15, 13, 5), freq_kernels=(9, 21, 5, 7), order=ORDERS[1]).train()
    quick, x = copy.deepcopy(slow), log_mels(frames=51)
    expected = loss_and_gradients(slow, lambda twin, x: twin(x), x)
    found = loss_and_gradients(quick, lambda twin, x: fast.forward(twin, x, torch.float64), x)
    assert_near(found[1], expected[1], 1e-9)
    assert_near(found[2], expected[2], 1e-9)


def test_the_order_matters():
    """Nothing above would notice if the option did nothing at all."""
    import twin

    for kind in KINDS:
        one, other = made(kind=kind).eval(), made(kind=kind, order=ORDERS[1]).eval()
        other.load_state_dict(one.state_dict())  # the keys are the same: "a" is along time, whichever comes first
        one, other = (twin.stage_outputs(net, log_mels())["stage1"] for net in (one, other))
        assert (one - other).abs().max() > 0.01 * one.abs().max()


@pytest.mark.parametrize("wrong", [{"kind": "ResNet"}, {"order": "time"}, {"scales": ()}, {"scales": (9, 7, 5, 3)}])
def test_no_such_twin(wrong):
    with pytest.raises(ValueError, match="no such network"):
        made(**wrong)
