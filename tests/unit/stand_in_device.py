"""A stand-in for a GPU in tests: tensors that lie on the CPU, but refuse what CUDA refuses.

Its device is called `meta`. Operations on tensors of two devices, matrix products of whole numbers, random numbers by a
generator of the CPU, and a view as NumPy array raise, as they would on a GPU.
"""

from contextlib import ExitStack, contextmanager

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = "meta"
PRODUCTS = {"mm", "bmm", "addmm", "mv", "addmv", "dot", "baddbmm"}
INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_"}


class Distant(torch.Tensor):
    """A tensor on the stand-in; `near` holds its values."""

    @staticmethod
    def __new__(cls, near):
        kept = {"strides": near.stride(), "storage_offset": near.storage_offset(), "dtype": near.dtype}
        return torch.Tensor._make_wrapper_subclass(cls, near.size(), **kept, device=torch.device(DEVICE))

    def __init__(self, near):
        self.near = near

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _computed(func, args, kwargs or {})


def _near(value):
    return value.near if isinstance(value, Distant) else value


def _is_distant(device) -> bool:
    return device is not None and torch.device(device).type == DEVICE


def _computed(func, args, kwargs):
    """The result of an operation, on the device that it has on a GPU. Raises RuntimeError as CUDA would."""
    name, device = func.overloadpacket.__name__, kwargs.get("device")
    tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
    distant = [tensor for tensor in tensors if isinstance(tensor, Distant)]
    if name == "copy_":
        _near(args[0]).copy_(_near(args[1]))
        return args[0]
    if distant and name != "_to_copy":
        _check(name, args, tensors, distant)
    there = _is_distant(device) if device is not None else bool(distant)
    if there and kwargs.get("generator") is not None:
        raise RuntimeError(f"{name}: a generator of the CPU for another device")
    given = {**tree_map(_near, kwargs), **({"device": torch.device("cpu")} if device is not None else {})}
    result = func(*tree_map(_near, args), **given)
    if func._schema.is_mutable and name.endswith("_") and isinstance(args[0], Distant):
        return args[0]
    return tree_map(lambda value: Distant(value) if there and isinstance(value, torch.Tensor) else value, result)


def _check(name, args, tensors, distant):
    mixed = any(tensor.dim() > 0 and not isinstance(tensor, Distant) for tensor in tensors)
    if (mixed and name not in INDEXED) or (name in INDEXED and not isinstance(args[0], Distant)):
        raise RuntimeError(f"{name}: tensors on two devices, {[tuple(tensor.shape) for tensor in tensors]}")
    if name in PRODUCTS and not distant[0].is_floating_point():
        raise RuntimeError(f"{name}: no product of {distant[0].dtype} on a GPU")


def _set(tensor, index, value):
    parts = [part for part in tree_leaves((index, value)) if isinstance(part, torch.Tensor)]
    far = isinstance(tensor, Distant)
    if any(isinstance(part, Distant) != far for part in parts if part.dim() > 0 and (part is value or not far)):
        raise RuntimeError("tensors on two devices in an assignment")
    _near(tensor)[tree_map(_near, index)] = _near(value)


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _computed(func, args, kwargs or {})


class _Calls(TorchFunctionMode):
    """What PyTorch does before it dispatches operations: lists, new tensors, parts by index."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.Tensor.tolist:
            return _near(args[0]).tolist()
        if func is torch.tensor and _is_distant(kwargs.get("device")):
            return Distant(torch.tensor(*args, **{**kwargs, "device": "cpu"}))
        if func is torch.Tensor.new_tensor and isinstance(args[0], Distant):
            return Distant(torch.tensor(args[1], dtype=args[0].dtype))
        if func is torch.Tensor.__getitem__ and isinstance(args[0], Distant):
            return Distant(args[0].near[tree_map(_near, args[1])])
        if func is torch.Tensor.__setitem__:
            return _set(*args)
        return func(*args, **kwargs)


def _moved(network: nn.Module, device) -> nn.Module:
    for part in network.modules() if _is_distant(device) else ():
        for name, weights in part._parameters.items():
            if weights is not None and not isinstance(weights, Distant):
                part._parameters[name] = nn.Parameter(Distant(weights.detach()), requires_grad=False)
        for name, values in part._buffers.items():
            part._buffers[name] = values if isinstance(values, Distant) or values is None else Distant(values)
    return network


@contextmanager
def stand_in():
    """While open, networks can be moved to DEVICE and tensors made there."""
    with ExitStack() as open_:
        open_.enter_context(pytest.MonkeyPatch.context()).setattr(nn.Module, "to", _moved)
        open_.enter_context(_Calls())
        open_.enter_context(_Operations())
        yield
