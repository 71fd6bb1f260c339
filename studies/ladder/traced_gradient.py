"""A gradient recorded once as a list of tensor operations, and run from the list: the same bits in less time.

A small network spends more time in between the operations of a step (vmap, autograd, Python) than in them. For fixed
shapes the operations are always the same, so that they can be recorded, with autograd's among them.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from smidgen.policies.stacked_attention import PreparedTokens
from studies.ladder.stacked_network import StackedInput, StackedNetwork

_aten = torch.ops.aten
_RESHAPES = (_aten.view.default, _aten._unsafe_view.default)
# Operations whose result shares the memory of what they are given.
_VIEWS = (
    *_RESHAPES,
    _aten.alias.default,
    _aten.detach.default,
    _aten.expand.default,
    _aten.permute.default,
    _aten.select.int,
    _aten.slice.Tensor,
    _aten.squeeze.dim,
    _aten.t.default,
    _aten.transpose.int,
    _aten.unsqueeze.default,
)


class TracedGradient:
    """``StackedNetwork.gradient`` for inputs of one shape.

    Reads the networks' weights where they are: they may change in place, but not be replaced.

    Args:
        network: The networks.
        inputs: Inputs of the shape that all others will have.
        target_SBOA: Their targets.
    """

    def __init__(
        self,
        network: StackedNetwork,
        inputs: StackedInput,
        target_SBOA: Float[Tensor, "networks batch steps outputs"],
    ) -> None:
        self.parameters = list(network.by_parameter(network.weights_SP).values())
        self.gradient_SP = torch.empty_like(network.weights_SP)
        self.gradients = list(network.by_parameter(self.gradient_SP).values())
        self.has_scale = isinstance(inputs, PreparedTokens) and inputs.g_B1N is not None

        def gradient(parameters: list[Tensor], parts: list[Tensor], target: Tensor) -> tuple[list[Tensor], Tensor]:
            return network.gradient_of_parameters(parameters, _joined(parts, inputs), target)

        self.graph = make_fx(gradient)(self.parameters, _parts(inputs), target_SBOA)
        _drop_idle(self.graph)
        _keep_views(self.graph, self.parameters)
        expected = network.gradient(inputs, target_SBOA)
        for got, want in zip(self(inputs, target_SBOA), expected, strict=True):
            assert torch.equal(got, want) or not want.isfinite().all(), (
                "the recorded gradient differs from the real one"
            )

    @torch.no_grad()
    def __call__(
        self, inputs: StackedInput, target_SBOA: Float[Tensor, "networks batch steps outputs"]
    ) -> tuple[Float[Tensor, "networks weights"], Float[Tensor, "networks batch steps outputs"]]:
        """Gradient of each network's mean squared error (overwritten by the next call), and the predictions."""
        gradients, predicted_SBOA = self.graph(self.parameters, _parts(inputs), target_SBOA)
        for place, gradient in zip(self.gradients, gradients, strict=True):
            place.copy_(gradient)
        return self.gradient_SP, predicted_SBOA


def _parts(inputs: StackedInput) -> list[Tensor]:
    if not isinstance(inputs, PreparedTokens):
        return [inputs]
    return [part for part in inputs if part is not None]


def _joined(parts: list[Tensor], like: StackedInput) -> StackedInput:
    if not isinstance(like, PreparedTokens):
        return parts[0]
    remaining = iter(parts)
    return like.map(lambda _: next(remaining))


def _drop_idle(recorded: fx.GraphModule) -> None:
    """Takes out views and products that change nothing, and joins a view of a view to one."""
    graph = recorded.graph
    for node in list(graph.nodes):
        is_times_one = node.target is _aten.mul.Scalar and node.args[1] == 1
        if node.op != "call_function" or not (is_times_one or node.target in _VIEWS):
            continue
        source = node.args[0]
        while node.target in _RESHAPES and source.op == "call_function" and source.target in _RESHAPES:
            source = source.args[0]
        if source is not node.args[0]:
            node.target, node.args = _aten.view.default, (source, *node.args[1:])
        if is_times_one or _layout(node) == _layout(source):
            node.replace_all_uses_with(source)
            graph.erase_node(node)
    graph.eliminate_dead_code()
    recorded.recompile()


def _keep_views(recorded: fx.GraphModule, parameters: list[Tensor]) -> None:
    """Makes the views of weights once: they stay right when weights change in place."""
    graph = recorded.graph
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    values = dict(zip(placeholders, parameters, strict=False))
    for node in list(graph.nodes):
        if node.op != "call_function" or node.target not in _VIEWS or node.args[0] not in values:
            continue
        values[node] = node.target(values[node.args[0]], *node.args[1:], **node.kwargs)
        name = f"kept_{node.name}"
        recorded.register_buffer(name, values[node])
        with graph.inserting_before(node):
            kept = graph.get_attr(name)
        kept.meta.update(node.meta)
        values[kept] = values[node]
        node.replace_all_uses_with(kept)
        graph.erase_node(node)
    graph.eliminate_dead_code()
    recorded.recompile()


def _layout(node: fx.Node) -> Any:
    value = node.meta["val"]
    return value.shape, value.stride(), value.storage_offset()
