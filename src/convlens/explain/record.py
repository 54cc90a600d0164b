"""What a network really does with one input: every operation in its order, and the module each one ran in.

A copy of the network runs forward once, in evaluation mode, while torch's dispatcher tells of every operation it comes
to (the aten operations, such as `convolution` or `add`). So functional calls, branches, layers used twice and decisions
made while running are all there, and nothing that did not run. What the operations mean is left to other files.

A tensor that is changed in place gets a new `Value` each time, and every value keeps the content it had when it was
made; so does each view of a changed tensor.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from convlens.errors import ShapeError
from convlens.explain.memory import Layout
from convlens.explain.operations import misfit
from convlens.explain.steps import BLANK, MET, OVERWRITTEN, RENEWED, Call, Record, Step, Value, values_in
from convlens.models.walk import walk


def record(network: nn.Module, x: Tensor) -> Record:
    """Run a copy of a network on one input and write down every operation.

    The network stays as it is, with its mode, buffers and gradients, and so do the random generators. On the `meta`
    device nothing is computed, only shapes: enough for its anatomy, in no time and without memory.

    Args:
        network: any module that takes one tensor.
        x: stays as it is too.

    Example:
        >>> run = record(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True)), torch.zeros(1, 1, 5, 5))
        >>> [(step.op, step.call.name, step.outputs[0].shape) for step in run.steps]
        [('convolution', '0', (1, 2, 3, 3)), ('relu', '1', (1, 2, 3, 3))]

    Raises:
        ShapeError: a step does not fit what reaches it; names the layer, what it received and the repair.
    """
    trial = _copy(network, meta=x.is_meta).eval()
    if any(is_lazy(tensor) for tensor in (*trial.parameters(), *trial.buffers())):
        with torch.no_grad(), _untouched(x):
            trial(x.detach().clone())  # its layers take the sizes they find
    recorder = _Recorder(trial, x.detach().clone())
    try:
        with torch.no_grad(), _untouched(x), _Leaks(recorder), recorder:
            trial(recorder.input.tensor)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, IndexError, AssertionError) as error:
        recorder.leave_no_trace()
        raise _misfit(recorder, trial, error) from None
    finally:
        recorder.leave_no_trace()
    return Record(trial, recorder.input, recorder.steps, recorder.calls)


class _Recorder(TorchDispatchMode):
    """Writes down what passes. It knows a tensor by its place in memory, since views share theirs."""

    def __init__(self, network: nn.Module, x: Tensor) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.calls: list[Call] = []
        self.stack: list[Call] = []
        self.failed: tuple[Step, BaseException] | None = None
        self._values: dict[Any, dict[Any, Value]] = {}  # storage -> layout in it -> its newest value
        self._alive: list[Tensor] = []  # so that no place in memory is used twice
        self._unwritten: dict[Any, list[Value]] = {}  # storage -> values whose content is the one that lies there
        self._before: dict[Any, tuple[Tensor, Tensor]] = {}  # weights that were written to, and what they were
        self._leaked = False
        self._weights = {_place(t): name for name, t in [*network.named_parameters(), *network.named_buffers()]}
        self._memory_of_weights = {storage for storage, _ in self._weights}
        self.input = self._bind(x, Value(x, "input", reads_input=True))
        names, uses = {id(module): name for name, module in network.named_modules()}, Counter[int]()

        def enter(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            parent = self.stack[-1] if self.stack else None
            if parent:
                parent.leaf = False
            uses[id(module)] += 1
            given = _map(inputs, self._value)
            call = Call(names[id(module)], module, parent, uses[id(module)], len(self.steps), given)
            self.calls.append(call)
            self.stack.append(call)

        def leave(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            while (call := self.stack.pop()).module is not module:
                pass  # left behind by a layer that failed and was caught
            call.output, call.ended = _map(output, self._value), True

        self._hooks = [module.register_forward_pre_hook(enter, prepend=True) for module in network.modules()]
        self._hooks += [module.register_forward_hook(leave) for module in network.modules()]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # there is no compiling here, and to guard against it would import the compiler: 1.3 s

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"):
            with self:  # reaches us whole in inference mode
                return func.decompose(*args, **kwargs)
        named = {
            a.name: args[i] if i < len(args) else kwargs.get(a.name, a.default_value)
            for i, a in enumerate(func._schema.arguments)
        }
        op = func._schema.name.removeprefix("aten::")
        step = Step(len(self.steps), op, _map(named, self._value), self.stack[-1])
        views = torch.Tag.inplace_view in func.tags
        marks = {a.name: a.alias_info for a in func._schema.arguments}
        written = [] if views else [named[n] for n, mark in marks.items() if mark and mark.is_write]
        written = [tensor for tensor in written if isinstance(tensor, Tensor)]
        if written or views:
            step.op, step.in_place = op.removesuffix("_"), True
        step.pointwise, step.func = torch.Tag.pointwise in func.tags, func
        for tensor in written:
            self._keep_content(tensor)
        if views:  # the tensor itself will have another shape
            self._value(args[0]).tensor = args[0].detach()
        try:
            result = func(*args, **kwargs)
        except Exception as error:
            self.failed = step, error
            raise
        self.steps.append(step)
        if op == "_local_scalar_dense" and args[0].dtype != torch.bool:  # a truth decides where to go, and no more
            self.read_out(args[0])
        self._take_outputs(step, result)
        for tensor in written:
            if tensor.numel():
                self._renew_views(step, tensor)
        return result

    def read_out(self, tensor: Tensor) -> None:
        """Values left torch; if they come from the input, whatever is made from now on may have been made from them."""
        self._leaked |= self._value(tensor).reads_input

    def leave_no_trace(self) -> None:
        """Hooks are removed, and weights that were written to get their content back."""
        for hook in self._hooks:
            hook.remove()
        with torch.no_grad():
            for tensor, content in reversed(self._before.values()):
                tensor.copy_(content)
        self._before.clear()

    # tensors and values ---------------------------------------------------------------------------------------------

    def _value(self, tensor: Tensor) -> Value:
        """What is known of a tensor; one that no step made is a weight, or a constant that was there before."""
        place = _place(tensor)
        known = self._values.get(place[0], {}).get(place[1])
        if known is None:
            name = self._weights.get(place)
            source = "weight" if name else MET if self._leaked else "constant"
            known = self._bind(tensor, Value(tensor, source, roots=frozenset([name] if name else [])))
        return known

    def _bind(self, tensor: Tensor, value: Value) -> Value:
        storage, value.layout = _place(tensor)
        self._values.setdefault(storage, {})[value.layout] = value
        self._unwritten.setdefault(storage, []).append(value)
        self._alive.append(tensor)
        return value

    def _take_outputs(self, step: Step, result: Any) -> None:
        unread = step.arguments if step.op in BLANK else ["self"] if step.op in OVERWRITTEN else ()
        inputs = list(values_in({name: value for name, value in step.arguments.items() if name not in unread}))
        reads = any(value.reads_input or value.source == MET for value in inputs)
        roots = frozenset[str]().union(*(value.roots for value in inputs)) if not reads else frozenset[str]()
        source = MET if self._leaked else "step"
        for tensor in _tensors(result):
            step.outputs.append(self._bind(tensor, Value(tensor, source, step, reads or self._leaked, roots)))

    def _keep_content(self, tensor: Tensor) -> None:
        """Before a tensor is written to: all values that lie in its memory get their content as a copy."""
        place = _place(tensor)
        if place not in self._before and place[0] in self._memory_of_weights:
            self._before[place] = tensor, tensor.clone()
        for value in self._unwritten.pop(place[0], ()):
            value.tensor = value.tensor.clone()

    def _renew_views(self, step: Step, tensor: Tensor) -> None:
        """After a tensor was written to: every other view of its memory is a new value too."""
        storage, written = _place(tensor)
        known = self._values[storage]
        base = max(known, key=lambda layout: layout.size)
        for view, old in list(known.items()):
            if view != written:
                renewal = Step(len(self.steps), RENEWED, {"old": old, "new": known[written]}, step.call)
                renewal.arguments |= {"written": written, "view": view, "base": base}
                alike = view.dtype == written.dtype
                now = torch.as_strided(tensor, view.shape, view.stride, view.offset) if alike else old.tensor
                self.steps.append(renewal)
                self._take_outputs(renewal, now)


class _Leaks(TorchFunctionMode):
    """Sees values leave torch by ways that are no operation."""

    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in ("numpy", "tolist", "__array__", "__dlpack__"):
            self._recorder.read_out(args[0])
        return func(*args, **(kwargs or {}))


def _place(tensor: Tensor) -> tuple[Any, Layout]:
    """The memory a tensor lies in, and how it lies there."""
    layout = Layout(int(tensor.storage_offset()), tuple(tensor.shape), tensor.stride(), tensor.dtype)
    return tensor.untyped_storage()._cdata, layout


def _map(structure: Any, change: Callable[[Tensor], Value]) -> Any:
    if isinstance(structure, Tensor):
        return change(structure)
    if isinstance(structure, dict):
        return {key: _map(item, change) for key, item in structure.items()}
    if isinstance(structure, list | tuple):
        return [_map(item, change) for item in structure]
    return structure


def _tensors(result: Any) -> list[Tensor]:
    items = result if isinstance(result, list | tuple) else [result]
    return [item for item in items if isinstance(item, Tensor)]


# around the run -------------------------------------------------------------------------------------------------------


def _copy(network: nn.Module, *, meta: bool) -> nn.Module:
    """A copy whose parameters share their memory with the network's, or have none."""
    kept: dict[int, Any] = {}
    for module in network.modules():
        for parameter in module.parameters(recurse=False):
            if not is_lazy(parameter):
                kept[id(parameter)] = nn.Parameter(_detached(parameter, meta), parameter.requires_grad)
        others = [*module.buffers(recurse=False), *(v for v in vars(module).values() if isinstance(v, Tensor))]
        for tensor in others:
            if meta or tensor.grad_fn is not None:  # deepcopy refuses a tensor with a history
                kept[id(tensor)] = _detached(tensor, meta)
    return copy.deepcopy(network, kept)


def _detached(tensor: Tensor, meta: bool) -> Tensor:
    return tensor.detach().to("meta") if meta else tensor.detach()


@contextmanager
def _untouched(x: Tensor) -> Iterator[None]:
    """Random generators end where they were, and attention runs step by step rather than as one operation."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.random.fork_rng(devices=[x.device] if x.device.type == "cuda" else []):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _misfit(recorder: _Recorder, trial: nn.Module, error: Exception) -> ShapeError:
    """Where the run broke, in the words of the formula where one is known."""
    call = recorder.stack[-1] if recorder.stack else None
    if call is None:
        return ShapeError(f"The network does not take {_times(recorder.input.shape)}: {_line(error)}.")
    given = next((_times(value.shape) for value in values_in(call.given)), "no tensor")
    where = f"{call.name or 'network'} ({call.kind}) receives {given}."
    if isinstance(error, ShapeError):
        return ShapeError(f"{where} {error}")
    step = recorder.failed[0] if recorder.failed and recorder.failed[1] is error else None
    if step and (words := misfit(step)):
        return ShapeError(f"{where} {words}")
    if step and not type(call.module).__module__.startswith("torch.nn"):
        shapes = " and ".join(_times(value.shape) for value in step.inputs) or "nothing"
        return ShapeError(f"{where} There the step '{step.op}' of {shapes} does not fit: {_line(error)}.")
    try:
        walk(trial, recorder.input.shape)
    except ShapeError as told:
        return told
    return ShapeError(f"{where} torch says: {_line(error)}.")


def _times(shape: Sequence[int]) -> str:
    return " x ".join(str(n) for n in shape)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")
