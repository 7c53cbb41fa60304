"""Where a network can be cut so that all before the cut is frozen: compute that once, train the rest on what it gives.

The network is traced with torch.fx as timm makes it traceable, so the cut needs no list of architectures: any place
that a single tensor crosses, with nothing tuned and nothing random before it, will do.
"""

from __future__ import annotations

import hashlib
import inspect
from dataclasses import dataclass
from typing import Any

import timm
import torch
from timm.models._features_fx import get_notrace_functions, get_notrace_modules
from torch import Tensor, fx, nn
from torch.utils.flop_counter import FlopCounterMode

from covidct.models.backbone import Backbone

RECOMPUTED = 0.1
"""An earlier cut is taken for its smaller tensor when it adds at most this share to a training step of the rest."""


class NoCut(Exception):
    """The network cannot be cut; the message says why, for people."""


@dataclass(frozen=True)
class Cut:
    """A place where the network is cut in two.

    Args:
        node: Name of the last operation before it.
        shape: Shape of one slice's activation there (C, H, W) or (tokens, channels) or (features,).
        frozen_share: Share of the network's multiply-adds that lies before it, 0..1.
    """

    node: str
    shape: tuple[int, ...]
    frozen_share: float


class TrunkAndTail:
    """A backbone as two functions, which share its weights and follow its training mode: `trunk` and `tail`.

    `tail(trunk(image))` is `backbone(image)`, to the rounding of the same operations.

    Args:
        backbone: A backbone with its frozen part frozen (`set_trainable`).
        size: Side of the pictures in pixels.

    Raises:
        NoCut: Nothing is frozen before the first tuned operation, or timm cannot trace the network.
    """

    def __init__(self, backbone: Backbone, size: int) -> None:
        self._backbone = backbone
        self._parts: dict[tuple[bool, torch.device], tuple[fx.GraphModule, fx.GraphModule]] = {}
        self.cut = _choose(backbone, size)

    def trunk(self, image: Tensor) -> Tensor:
        """Activations at the cut (B, *cut.shape) of images (B, C, H, W) in [0, 1]; no gradient."""
        with torch.no_grad():
            found: Tensor = self._both()[0](self._backbone.prepared(image))
        return found

    def tail(self, activation: Tensor) -> Tensor:
        """Logits (B, K) of activations (B, *cut.shape)."""
        if self._backbone.channels_last and activation.ndim == 4:
            activation = activation.contiguous(memory_format=torch.channels_last)
        logits: Tensor = self._both()[1](activation)
        return logits

    def digest(self) -> str:
        """SHA-256, in hex, of all the activations at the cut depend on, besides the picture: operations and weights."""
        trunk = self._both()[0]
        architecture = self._backbone.net.pretrained_cfg["architecture"]
        operations = f"timm {timm.__version__}|{architecture}|{self.cut}|{self._backbone.channels_last}"
        running = hashlib.sha256(operations.encode())
        for name, tensor in [*sorted(trunk.state_dict().items()), *self._backbone.named_buffers(recurse=False)]:
            plain = tensor.detach().cpu().contiguous()
            running.update(f"{name}|{plain.dtype}|{tuple(plain.shape)}|".encode())
            running.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
        return running.hexdigest()

    def _both(self) -> tuple[fx.GraphModule, fx.GraphModule]:
        # traced once for each mode, because networks ask for `self.training` while they are traced; and for each
        # device, because a graph holds on to the buffers it was made with
        key = (self._backbone.training, self._backbone.mean.device)
        if key not in self._parts:
            graph = _trace(self._backbone.net)
            self._parts[key] = _halves(self._backbone.net, graph, self.cut.node)
        return self._parts[key]


def _choose(backbone: Backbone, size: int) -> Cut:
    if not any(not p.requires_grad for p in backbone.net.parameters()):
        raise NoCut("nothing of the network is frozen")
    was_training = backbone.training
    statistics = {name: buffer.clone() for name, buffer in backbone.named_buffers()}
    backbone.train()  # in evaluation mode dropout would not show
    try:
        graph = _trace(backbone.net)
        image = torch.zeros(1, backbone.channels, size, size, device=backbone.mean.device)
        seen = _Watch(fx.GraphModule(backbone.net, graph))
        with torch.no_grad(), torch.random.fork_rng():
            seen.run(backbone.prepared(image))
    finally:
        backbone.train(was_training)
        for name, buffer in backbone.named_buffers():
            buffer.copy_(statistics[name])  # tuned BatchNorm layers have looked at a black picture
    nodes = list(graph.nodes)
    place = {node: number for number, node in enumerate(nodes)}
    last_use = {node: max((place[user] for user in node.users), default=-1) for node in nodes}
    total = max(1, sum(seen.flops.values()))
    done = 0
    cuts: list[tuple[int, Cut]] = []
    for number, node in enumerate(nodes):
        if node.op == "output" or node in seen.random or _is_tuned(node, backbone.net):
            break
        done += seen.flops.get(node, 0)
        live = [n for n in nodes[: number + 1] if last_use[n] > number and n.op != "get_attr"]
        if live == [node] and node.op != "placeholder" and node in seen.shapes:
            shape = seen.shapes[node]
            cuts.append((torch.Size(shape).numel(), Cut(node.name, shape[1:], done / total)))
    if not cuts or cuts[-1][1].frozen_share == 0:
        raise NoCut("no part of the network before the first tuned layer can be computed apart")
    latest = cuts[-1][1].frozen_share
    allowed = RECOMPUTED * 3 * (1 - latest)  # a training step costs about three times the way forward
    near = [(numel, -number, cut) for number, (numel, cut) in enumerate(cuts) if latest - cut.frozen_share <= allowed]
    return min(near, key=lambda found: found[:2])[2]


class _Tracer(fx.Tracer):
    def __init__(self) -> None:
        super().__init__(autowrap_functions=tuple(get_notrace_functions()))
        self._leaves = tuple(get_notrace_modules())

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, self._leaves) or super().is_leaf_module(m, module_qualified_name)


def _trace(net: nn.Module) -> fx.Graph:
    parameters = list(inspect.signature(net.forward).parameters.values())
    defaults = {p.name: p.default for p in parameters[1:] if p.default is not inspect.Parameter.empty}
    try:
        return _Tracer().trace(net, concrete_args=defaults)
    except Exception as error:  # tracing runs the network's own code, which may do anything with a stand-in
        raise NoCut(f"timm cannot trace this network ({type(error).__name__})") from error


class _Watch(fx.Interpreter):
    """Runs a graph once and notes shapes, multiply-adds and which operations draw random numbers."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.shapes: dict[fx.Node, tuple[int, ...]] = {}
        self.flops: dict[fx.Node, int] = {}
        self.random: set[fx.Node] = set()

    def run_node(self, n: fx.Node) -> Any:
        before = torch.get_rng_state()
        with FlopCounterMode(display=False) as counter:
            found = super().run_node(n)
        self.flops[n] = counter.get_total_flops()
        if isinstance(found, Tensor):
            self.shapes[n] = tuple(found.shape)
        if not torch.equal(before, torch.get_rng_state()):
            self.random.add(n)
        return found


def _is_tuned(node: fx.Node, net: nn.Module) -> bool:
    if node.op == "call_module":
        return any(p.requires_grad for p in net.get_submodule(str(node.target)).parameters())
    if node.op == "get_attr":
        owner, _, name = str(node.target).rpartition(".")
        return bool(getattr(getattr(net.get_submodule(owner), name), "requires_grad", False))
    return False


def _halves(net: nn.Module, graph: fx.Graph, name: str) -> tuple[fx.GraphModule, fx.GraphModule]:
    """Everything up to a node, and everything after it, as modules that share the network's weights."""
    first, second = fx.Graph(), fx.Graph()
    one: dict[fx.Node, fx.Node] = {}
    two: dict[fx.Node, fx.Node] = {}
    nodes = list(graph.nodes)
    border = next((number for number, node in enumerate(nodes) if node.name == name), None)
    if border is None:
        raise NoCut("the network does something else in evaluation than in training before the cut")
    for node in nodes[: border + 1]:
        if node.op != "placeholder" or node.users:
            one[node] = first.node_copy(node, lambda n: one[n])
    first.output(one[nodes[border]])
    two[nodes[border]] = second.placeholder("activation")

    def brought(node: fx.Node) -> fx.Node:
        if node not in two:  # a constant that was fetched before the cut and is used after it
            two[node] = second.node_copy(node, brought)
        return two[node]

    for node in nodes[border + 1 :]:
        two[node] = second.node_copy(node, brought)
    return fx.GraphModule(net, first), fx.GraphModule(net, second)
