"""What is written down of a run, what is left untouched, and what is said of a network that does not fit."""

from __future__ import annotations

import hashlib
import random
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convlens.errors import ShapeError
from convlens.explain.record import record
from convlens.explain.steps import Record, Value
from explain.random_networks import SIZE, random_network


def told(run: Record) -> list[tuple[str, str]]:
    return [(step.op, step.call.name) for step in run.steps]


class Twice(nn.Module):
    """A branch, a reused layer, a functional step, a change in place, a shortcut, and a way that the image decides."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.unused = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.conv(x))
        y = F.max_pool2d(y, 2) if x.mean() > 0 else F.avg_pool2d(y, 2)
        return self.conv(y) + y


# what ran -------------------------------------------------------------------------------------------------------------


def test_what_ran_is_there_in_order_with_its_module() -> None:
    run = record(Twice(), torch.ones(1, 2, 4, 4))
    steps = [entry for entry in told(run) if entry[0] not in ("mean", "gt", "_local_scalar_dense")]
    pool = ("max_pool2d_with_indices", "")
    assert steps == [("convolution", "conv"), ("relu", "act"), pool, ("convolution", "conv"), ("add", "")]
    assert [(call.name, call.use) for call in run.calls] == [("", 1), ("conv", 1), ("act", 1), ("conv", 2)]
    assert run.find("conv", 2).output is run.steps[-1].arguments["self"]
    assert run.output is run.steps[-1].outputs[0]


def test_the_way_depends_on_the_image() -> None:
    ops = [step.op for step in record(Twice(), -torch.ones(1, 2, 4, 4)).steps]
    assert "avg_pool2d" in ops
    assert "max_pool2d_with_indices" not in ops


def test_values_know_what_they_come_from() -> None:
    run = record(Twice(), torch.ones(1, 2, 4, 4))
    conv = run.steps[0].arguments
    assert conv["input"] is run.input
    assert [conv[name].source for name in ("input", "weight", "bias")] == ["input", "weight", "weight"]
    assert conv["weight"].roots == {"conv.weight"}
    assert run.find("conv").given == [run.input]
    assert run.find("act").given == [run.find("conv").output]
    assert run.steps[-1].reads_input


def test_a_module_that_did_not_run_is_an_error() -> None:
    with pytest.raises(ShapeError, match="No module 'unused' ran"):
        record(Twice(), torch.ones(1, 2, 4, 4)).find("unused")


def test_steps_that_do_not_read_the_image_say_so() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(2))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.scale.softmax(0)[:, None, None] + torch.arange(x.shape[3]) + torch.tensor([1.0, 2.0])[0]

    run = record(Scaled(), torch.ones(1, 2, 3, 3))
    assert {step.op for step in run.steps if step.reads_input} == {"mul", "add"}
    (mul,) = [step for step in run.steps if step.op == "mul"]
    assert mul.arguments["other"].roots == {"scale"}
    assert not [step.op for step in run.steps if any(value.source == "met" for value in step.outputs)]


def test_attention_is_told_step_by_step() -> None:
    run = record(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), torch.rand(1, 3, 4))
    ops = [step.op for step in run.steps]
    assert [sum(name in op for op in ops) for name in ("attention", "layer_norm", "transformer")] == [1, 2, 0]
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_forward_in_inference_mode_is_told_too() -> None:
    class Inference(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            with torch.inference_mode():
                return F.linear(x.flatten(1), torch.ones(2, 4))

    assert [op for op, _ in told(record(Inference(), torch.ones(1, 1, 2, 2)))][-1] in ("mm", "addmm")


def test_a_failure_that_a_network_catches_is_no_part_of_what_ran() -> None:
    class Careful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 2), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            try:
                return self.first(x)
            except RuntimeError:
                return self.second(x)

    run = record(Careful(), torch.ones(1, 4))
    assert [(call.name, call.ended) for call in run.calls] == [("", True), ("first", False), ("second", True)]
    assert run.output is run.find("second").output


@pytest.mark.parametrize("seed", range(20))
def test_without_memory_the_same_is_told(seed: int) -> None:
    network = random_network(seed)
    real = record(network, torch.zeros(1, *SIZE, dtype=torch.float64))
    bare = record(network, torch.zeros(1, *SIZE, dtype=torch.float64, device="meta"))
    assert bare.output.tensor.is_meta
    assert bare.output.shape == real.output.shape
    assert [(call.name, call.use) for call in bare.calls] == [(call.name, call.use) for call in real.calls]


# contents -------------------------------------------------------------------------------------------------------------


def same(found: Any, expected: Any) -> bool:
    found = found if isinstance(found, list | tuple) else [found]
    return all(torch.allclose(a, b.tensor, equal_nan=True) for a, b in zip(found, expected, strict=True))


@torch.no_grad()
@pytest.mark.parametrize("part", range(3))
def test_every_step_can_be_run_again_from_what_it_read(part: int) -> None:
    """So every value has kept the content it had, whatever was written over it later."""

    def tensors(structure: Any) -> Any:
        if isinstance(structure, Value):
            return structure.tensor.clone()
        return [tensors(item) for item in structure] if isinstance(structure, list) else structure

    done = 0
    for seed in range(15 * part, 15 * part + 15):
        torch.manual_seed(seed)
        run = record(random_network(seed), torch.randn(1, *SIZE, dtype=torch.float64))
        for step in run.steps:
            if step.func is None or step.op.startswith("empty") or step.op.startswith("new_empty"):
                continue
            given = {name: tensors(value) for name, value in step.arguments.items()}
            only_named = [a.name for a in step.func._schema.arguments if a.kwarg_only]
            result = step.func(
                *(v for k, v in given.items() if k not in only_named), **{k: given[k] for k in only_named}
            )
            assert same(result, step.outputs), (seed, step)
            done += 1
    assert done > 100


def test_a_value_keeps_its_content_when_it_is_written_over() -> None:
    torch.manual_seed(0)
    network, x = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True)), torch.randn(1, 1, 6, 6)
    run = record(network, x)
    assert torch.equal(run.find("0").output.tensor, network[0](x))
    assert run.find("0").output.tensor.min() < 0
    assert torch.equal(run.find("1").output.tensor, network(x))


def test_a_view_of_what_is_written_over_is_a_new_value() -> None:
    class Views(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x * 1
            first, rest = y[:, :1], y[:, 1:]
            rest.relu_()
            return torch.cat([y, first, rest], 1)

    x = -torch.ones(1, 3, 4)
    run = record(Views(), x)
    whole, first, rest = run.steps[-1].arguments["tensors"]
    assert whole.step.op == "renewed view"
    assert (first.step.op, first.tensor.max()) == ("renewed view", -1)
    assert rest.step.op == "relu"
    assert whole.tensor[0, :, 0].tolist() == [-1, 0, 0]
    (mul,) = [step for step in run.steps if step.op == "mul"]
    assert mul.outputs[0].tensor.tolist() == x.tolist()


def test_the_shape_of_a_tensor_can_change_in_place() -> None:
    class Turned(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x + 1
            y.transpose_(1, 2)
            return y.unsqueeze_(0)

    run = record(Turned(), torch.zeros(1, 2, 3))
    assert [step.outputs[0].shape for step in run.steps] == [(1, 2, 3), (1, 3, 2), (1, 1, 3, 2)]


# what is left as it was -----------------------------------------------------------------------------------------------


class Restless(nn.Module):
    """Changes all that a module can: its buffers, its weights, its attributes, its input, and draws random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)
        self.register_buffer("seen", torch.zeros(()))
        self.calls, self.memory = 0, torch.zeros(2)

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        self.calls += 1
        self.memory.add_(1)
        self.conv.weight.data.clamp_(-0.01, 0.01)
        self.conv.bias.data = self.conv.bias.data * 0
        self.norm.train()
        x.relu_()
        return self.norm(self.conv(x)) * torch.rand(1, device=x.device) + torch.dropout(
            x[:, :, :2, :2].mean(), 0.5, train=True
        )


def fingerprint(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    for name, parameter in network.named_parameters():
        digest.update(f"{name} {parameter.requires_grad} {id(parameter)} {parameter.data_ptr()}".encode())
        digest.update(b"none" if parameter.grad is None else parameter.grad.numpy().tobytes())
    for name, module in network.named_modules():
        hooks = len(module._forward_hooks), len(module._forward_pre_hooks), len(module._backward_hooks)
        digest.update(f"{name} {module.training} {hooks}".encode())
    return digest.hexdigest()


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_network_its_input_and_the_random_generators_stay_as_they_are(device: str) -> None:
    network = nn.Sequential(Restless(), nn.Dropout(), nn.Flatten()).train()
    network[0].norm.eval()
    network[0].conv.bias.requires_grad_(False)
    network(torch.rand(2, 1, 5, 5)).sum().backward()
    network[0].norm.eval()
    network.register_forward_hook(lambda *_: None)
    before, memory, calls = fingerprint(network), network[0].memory.clone(), network[0].calls
    x = torch.randn(1, 1, 5, 5)
    kept = x.clone()
    states = torch.random.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
    run = record(network, x.to(device))
    assert fingerprint(network) == before
    assert torch.equal(network[0].memory, memory)
    assert network[0].calls == calls
    assert torch.equal(x, kept)
    assert torch.equal(torch.random.get_rng_state(), states[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[1:]  # type: ignore[index]
    assert not torch.is_inference_mode_enabled()
    assert run.network is not network


def test_a_network_that_does_not_fit_stays_as_it_is_too() -> None:
    network = nn.Sequential(Restless(), nn.Flatten(), nn.Linear(9, 2)).train()
    before = fingerprint(network)
    with pytest.raises(ShapeError):
        record(network, torch.rand(1, 1, 5, 5))
    assert fingerprint(network) == before


def test_weights_are_not_copied() -> None:
    network = nn.Linear(4, 2)
    assert record(network, torch.zeros(1, 4)).network.weight.data_ptr() == network.weight.data_ptr()


def test_weights_that_are_computed_can_be_copied() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the old way of it, which torch advises against
        old = nn.utils.weight_norm(nn.Linear(4, 2))
    new = nn.utils.parametrizations.weight_norm(nn.Linear(4, 2))
    for network in (old, new):
        (product,) = [step for step in record(network, torch.ones(1, 4)).steps if step.op == "addmm"]
        roots = set[str]().union(*(value.roots for value in product.inputs))
        assert len(roots) == 3


def test_a_lazy_network_stays_lazy() -> None:
    network = nn.Sequential(nn.LazyConv2d(2, 3), nn.ReLU())
    assert record(network, torch.ones(1, 3, 5, 5)).output.shape == (1, 2, 3, 3)
    assert isinstance(network[0], nn.LazyConv2d)


# what does not fit ----------------------------------------------------------------------------------------------------


class Reshaped(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.view(1, 7)


class Added(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + x[:, :, 1:]


class Pooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(self.conv(x), 4)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(
    ("network", "shape", "message"),
    [
        (
            nn.Sequential(nn.Conv2d(1, 1, 5)),
            (1, 4, 3),
            r"^0 \(Conv2d\) receives 1 x 1 x 4 x 3. A window of 5 does not fit into 4: "
            r"floor\(\(4 \+ 0 - 5\) / 1\) \+ 1 = 0, .*; or pad with 1 on each side.$",
        ),
        (
            nn.Sequential(nn.MaxPool2d(2), nn.MaxPool2d(2)),
            (1, 3, 3),
            r"^1 \(MaxPool2d\) .* window of 2 .* into 1: floor",
        ),
        (
            Pooled(),
            (1, 5, 5),
            r"^network \(Pooled\) receives 1 x 1 x 5 x 5. A pooling window of 4 does not fit into 3: ",
        ),
        (nn.ConvTranspose2d(1, 1, 2, padding=2), (1, 2, 2), r"Nothing is left of the output: \(2 - 1\) x 1 - 2 x 2"),
        (
            nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(99, 2)),
            (1, 8, 8),
            r"^2 \(Linear\) receives 1 x 72. It expects 99 values; set in_features=72",
        ),
        (nn.Sequential(nn.Conv2d(3, 2, 3)), (1, 8, 8), r"It expects 3 channels; set in_channels=1"),
        (
            nn.Sequential(nn.Flatten(), nn.Conv2d(1, 1, 1)),
            (1, 4, 4),
            r"receives 1 x 16. It expects a map \(N, C, H, W\)",
        ),
        (
            nn.Sequential(nn.ReLU(), Reshaped()),
            (1, 2, 2),
            r"^1 \(Reshaped\) receives 1 x 1 x 2 x 2. There the step 'view' of 1 x 1 x 2 x 2 does not fit: shape",
        ),
        (
            Added(),
            (1, 4, 4),
            r"^network \(Added\) .*the step 'add' of 1 x 1 x 4 x 4 and 1 x 1 x 3 x 4",
        ),
    ],
)
def test_errors_name_the_step_the_numbers_and_the_repair(
    network: nn.Module, shape: tuple[int, ...], message: str, device: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        record(network, torch.zeros(1, *shape, device=device))


def test_an_error_of_ours_is_passed_on_with_its_place() -> None:
    class Picky(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ShapeError("Give it 32 x 32.")

    with pytest.raises(ShapeError, match=r"^1 \(Picky\) receives 1 x 2. Give it 32 x 32.$"):
        record(nn.Sequential(nn.ReLU(), Picky()), torch.zeros(1, 2))


def test_a_mistake_in_the_code_of_a_network_is_not_called_a_misfit() -> None:
    class Wrong(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.no_such_thing  # type: ignore[attr-defined]

    with pytest.raises(AttributeError):
        record(Wrong(), torch.zeros(1, 2))
