"""Trees: maps over their nodes, the names of their arrays, and the lists of their blocks, layers and convolutions."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from strategies import SEEDS, architectures, float_network
from trees import same

from minirep import Architecture, Network, fuse, network, random_network
from minirep.architecture import INCEPTION, REP, build
from minirep.network import BatchNorm, Block, Conv, Depthwise
from minirep.reparam import is_fused
from minirep.tree import as_type, map_arrays, map_tree, named_arrays

NETS = {kind: random_network(Architecture(kind=kind, width=2, depths=(1, 2, 1, 1))) for kind in (REP, INCEPTION)}
each_net = pytest.mark.parametrize("net", NETS.values(), ids=NETS)


def recorded(arch):
    """Return a network and {name: array} as `build` asks for them."""
    asked = {}
    net = build(arch, lambda name, shape: asked.setdefault(name, np.zeros(shape, np.float32)))
    return net, asked


def test_trees_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        NETS[REP].stem.relu = False


# --- maps ---------------------------------------------------------------------------------------------------------


@given(architectures(), SEEDS)
def test_a_map_that_changes_nothing_gives_an_equal_tree(arch, seed):
    net = float_network(arch, seed)
    for form in (net, fuse(net)):
        back = map_tree(form, lambda _, node: node)
        assert same(back, form)
        assert all(a is b for a, b in zip(named_arrays(back).values(), named_arrays(form).values(), strict=True))


@each_net
def test_a_map_visits_every_node_by_its_path(net):
    visited = {}

    def change(name, node):
        assert name not in visited
        visited[name] = node
        return node

    map_tree(net, change)
    assert visited[""] is net and visited["stem.bn"] is net.stem.bn
    assert visited["stages.1.0"] is net.stages[1][0] and visited["stages.1.0.stride"] == (2, 2)
    assert visited["stages.1.1.paths.0.1.branches.0"] is net.stages[1][1].paths[0][1].branches[0]
    assert visited["heads.class.bias"] is net.heads["class"].bias
    assert visited["stages.0.0.shortcut"] is None and visited["stages.0.0.entry.bn.eps"] == 1e-5


def test_the_children_of_a_replaced_node_are_not_visited():
    net, names = NETS[REP], []

    def change(name, node):
        names.append(name)
        return node if not isinstance(node, BatchNorm) else None

    bare = map_tree(net, change)
    assert all(conv.bn is None for conv in bare.convs) and all(conv.bn is not None for conv in net.convs)
    assert "stem.bn" in names and not any(name.startswith("stem.bn.") for name in names)
    assert map_tree(net, lambda name, node: node if name else "nothing") == "nothing"


def test_a_map_also_takes_a_part_of_a_tree():
    block = NETS[REP].stages[0][0]
    assert list(named_arrays(block.entry)) == ["weight", "bn.scale", "bn.shift", "bn.mean", "bn.variance"]
    assert next(iter(named_arrays(block.paths))) == "0.0.branches.0.weight"
    assert named_arrays({"a": block.entry.weight, "b": (1, None)}) == {"a": block.entry.weight}
    assert map_tree(3, lambda _, node: node) == 3 and map_arrays((np.ones(2), "x"), len) == (2, "x")


@each_net
def test_a_map_over_arrays_reaches_all_of_them_and_nothing_else(net):
    doubled = map_arrays(net, lambda array: array * 2)
    for name, array in named_arrays(net).items():
        np.testing.assert_array_equal(named_arrays(doubled)[name], 2 * array)
    assert same(map_arrays(doubled, lambda array: array / np.float32(2)), net)


@given(architectures())
def test_arrays_have_the_names_and_the_order_in_which_they_are_built(arch):
    net, asked = recorded(arch)
    names = named_arrays(net)
    assert names.keys() == asked.keys() and all(names[name] is array for name, array in asked.items())


def test_names_of_a_fused_network():
    names = named_arrays(fuse(NETS[INCEPTION]))
    assert not any(".bn." in name for name in names)
    assert "stages.0.0.expand_project.0.weight" in names and "stages.0.0.expand_project.1.weight" not in names
    assert "stages.3.0.paths.2.1.branches.0.bias" in names and "stages.1.0.shortcut.bias" in names


@each_net
def test_as_type(net):
    double = as_type(net, np.float64)
    assert double.dtype == np.float64 and net.dtype == np.float32
    assert {array.dtype for array in named_arrays(double).values()} == {np.dtype(np.float64)}
    assert not is_fused(double) and is_fused(fuse(double)) and not is_fused(net)
    assert same(as_type(double, np.float32), net)
    assert double.stem.bn.eps == net.stem.bn.eps


# --- lists --------------------------------------------------------------------------------------------------------


def nodes_of(net, kind) -> dict:
    """Return {path: node} of every node of a kind."""
    found = {}
    map_tree(net, lambda name, node: found.setdefault(name, node) if isinstance(node, kind) else node)
    return found


@given(architectures(), SEEDS)
def test_blocks_layers_and_convolutions_are_those_of_the_tree(arch, seed):
    net = float_network(arch, seed)
    for form in (net, fuse(net)):
        assert form.blocks == nodes_of(form, Block)
        assert list(form.blocks) == [f"stages.{i}.{j}" for i, depth in enumerate(arch.depths) for j in range(depth)]
        for listed, kind in ((form.layers, Depthwise), (form.convs, Conv)):
            assert len(listed) == len(nodes_of(form, kind))
            assert {id(node) for node in listed} == {id(node) for node in nodes_of(form, kind).values()}
        assert form.classes == arch.heads


@each_net
def test_convolutions_come_in_the_order_of_the_forward_pass(net):
    """The shortcut of a block is last in the list, but may be computed earlier."""
    called = []

    class Recording:
        """Operations that record their convolutions and return what they were given."""

        def stem(self, x, conv):
            called.append(conv)
            return x

        def pointwise(self, x, conv, stride):
            called.append(conv)
            return x

        def depthwise(self, x, layer):
            called.extend(layer.branches)
            return x

        def expand_project(self, total, convs, residual):
            called.extend(convs)
            return total

    for _ in network.walk(net, 1.0, Recording()):
        pass
    shortcuts = {id(block.shortcut) for block in net.blocks.values()}
    ahead, listed = ([c for c in convs if id(c) not in shortcuts] for convs in (called, net.convs))
    assert [id(conv) for conv in ahead] == [id(conv) for conv in listed]
    assert len(called) == len(net.convs)
    for block in net.blocks.values():
        convs = block.convs
        assert convs[0] is block.entry and (block.shortcut is None or convs[-1] is block.shortcut)
        branches = [branch for path in block.paths for layer in path for branch in layer.branches]
        assert convs[1 : 1 + len(branches)] == branches


@each_net
def test_maps_over_blocks_and_layers(net):
    marked = net.map_blocks(lambda block: dataclasses.replace(block, stride=(3, 1)))
    assert isinstance(marked, Network) and {block.stride for block in marked.blocks.values()} == {(3, 1)}
    assert marked.stem is net.stem and marked.heads is net.heads
    assert [len(blocks) for blocks in marked.stages] == [len(blocks) for blocks in net.stages]
    block = net.stages[1][0]
    turned = block.map_layers(lambda layer: dataclasses.replace(layer, axis=layer.axis[::-1]))
    assert [layer.axis[::-1] for layer in turned.layers] == [layer.axis for layer in block.layers]
    assert [len(path) for path in turned.paths] == [len(path) for path in block.paths]
    assert turned.entry is block.entry and turned.expand_project is block.expand_project
