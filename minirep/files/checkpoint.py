"""The authors' checkpoints, ``.pyth``: from a file of PyTorch to a `Network`, without PyTorch.

`minirep.files.torchfile` opens the file and `minirep.files.yamltext` reads the configuration in it. Here the
configuration becomes an `Architecture` and a `Recipe`, and the published keys and shapes of the weights become those of
the tree. Stage 1 is ``stages[0]`` in the tree, and "s2" in a checkpoint, whose "s1" is the stem. No weight may be
missing or left over: a network that is almost right would give wrong results silently.

Three kinds of file are read: with branches; with branches and merged kernels (the branches are used, and
`stored_merged` returns the merged kernels); and with merged kernels alone.
"""

import os
import re
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np

from ..architecture import ORDERS, REP, Architecture, build
from ..check import MAX_ARRAYS, fault
from ..errors import MinirepError, expect, naming
from ..network import Conv
from ..recipe import MELS, RECIPES, Recipe, numbered_labels, published_labels
from ..text import quoted
from .modelfile import Model
from .torchfile import StoredTensor, TorchFile, known
from .write import sha256
from .yamltext import parse

Shape = tuple[int, ...]


def read_published(path) -> Model:
    """Read a checkpoint as it is stored: with its branches unless the file has merged kernels alone.

    All weights become float32. Labels are those in the file (see `_extras`), else the published ones of its data set,
    else numbers. ``provenance`` contains at least "source", the file's name, and "sha256".

    Raises a MinirepError with the file's name for a file that is damaged or not a checkpoint, for anything in it that
    is not plain data, and for weights that do not fit the configuration or are not finite.
    """
    with naming(path), TorchFile(path) as file:
        config = _Settings(file)
        weights = _Weights(file, config)
        heads, merged = weights.arch.heads, weights.merged
        network = build(weights.arch, lambda name, shape: weights.array(name, shape, merged), merged)
        extras = _extras(file, heads)
        recipe = _recipe(config, weights.arch)
        labels = extras.get("labels") or _known_labels(recipe.name, heads)
        if "recipe" in extras:
            recipe = replace(recipe, name=extras["recipe"])
        provenance = {"source": file.path.name.encode(errors="replace").decode(), "sha256": sha256(file.path)}
        provenance |= {key: extras[key] for key in ("licence", "credit") if key in extras}
    return Model(network, recipe, labels, provenance)


def stored_merged(path) -> dict[str, Conv]:
    """Return the merged kernels in a checkpoint, to compare them with those merged from its branches.

    The keys are paths of layers in the tree, such as "stages.0.2.paths.0.1". The values are `Conv` with weight (k, C)
    and bias (C,), without the identity, as from `minirep.reparam.merge_branches`. A file without them gives {}.
    """
    layers: dict[str, dict] = {}
    with naming(path), TorchFile(path) as file:
        weights = _Weights(file, _Settings(file))
        for name, shape in _places(weights.arch, merged=True).items() if weights.has_merged else ():
            if ".branches.0." in name:
                layer, part = name.split(".branches.0.")  # part: weight or bias
                layers.setdefault(layer, {})[part] = weights.array(name, shape, merged=True)
    return {layer: Conv(**parts) for layer, parts in layers.items()}


POINTWISE = {
    "entry": "branch2.a_head",
    "expand_project.0": "branch2.c",
    "expand_project.1": "branch2.d",
    "shortcut": "branch1",
}
AXES = {"time": "a", "frequency": "b"}
PUBLISHED_AXES = tuple(AXES)  # in this order
SCALES = ("", "_medium", "_small")  # of the branches, largest first; the others have the same size in all stages:
SMALL_KERNELS = (11, 3)  # as published
NORM = {"scale": "weight", "shift": "bias", "mean": "running_mean", "variance": "running_var"}


def published_key(name: str, merged: bool = False, axes: tuple[str, ...] = PUBLISHED_AXES) -> str:
    """Return the key that an array of the tree has in a checkpoint; with ``merged``, that of a merged kernel.

    ``axes`` gives the order of the axes in the tree; a key contains "a" for time or "b" for frequency.

    >>> published_key("stages.0.2.paths.0.1.branches.1.bn.mean")
    's2.pathway0_res2.branch2.b_bn_medium.running_mean'
    >>> published_key("stages.0.2.paths.0.1.branches.0.bias", merged=True)
    's2.pathway0_res2.branch2.b_reparam.bias'
    """
    node, part = name.replace(".bn.", ".").rsplit(".", 1)
    if node == "stem":
        conv, bn = "s1.pathway0_stem.conv", "s1.pathway0_stem.bn"
    elif node.startswith("heads."):
        head = node.removeprefix("heads.")
        conv, bn = "head.projection" if head == "class" else f"head.projection_{head}", None
    else:
        _, stage, block, inner = node.split(".", 3)
        key = f"s{int(stage) + 2}.pathway0_res{block}."  # s1 is the stem
        if inner in POINTWISE:
            conv, bn = key + POINTWISE[inner], f"{key}{POINTWISE[inner]}_bn"
        else:  # paths.P.L.branches.B: all branches are in one path (P = 0), or each is in a path of its own (B = 0)
            path, layer, branch = (int(n) for n in re.findall(r"\d+", inner))
            axis, scale = AXES[axes[layer]], SCALES[path + branch]
            conv, bn = f"{key}branch2.{axis}{'_reparam' if merged else scale}", f"{key}branch2.{axis}_bn{scale}"
    return f"{bn}.{NORM[part]}" if ".bn." in name else f"{conv}.{part}"


def published_shape(name: str, shape: Shape, axes: tuple[str, ...] = PUBLISHED_AXES) -> Shape:
    """Return the shape that an array of the tree has in a checkpoint: output channels come first.

    >>> published_shape("stages.0.2.paths.0.1.branches.1.weight", (11, 64))
    (64, 1, 1, 11)
    """
    if len(shape) == 1:
        return shape
    if name == "stem.weight":
        kt, kf, c_in, c_out = shape
        return c_out, c_in, kt, kf
    if name.startswith("heads."):
        return shape[::-1]
    if ".paths." in name:
        k, c = shape
        axis = axes[".1.branches." in name]
        return (c, 1, k, 1) if axis == "time" else (c, 1, 1, k)
    return (*shape[::-1], 1, 1)


def _places(arch: Architecture, merged: bool) -> dict[str, Shape]:
    """Return {name: shape} of all arrays of a tree."""
    places: dict[str, Shape] = {}
    build(arch, places.__setitem__, merged)  # type: ignore[arg-type]  # the tree itself holds nothing
    return places


def _published(arch: Architecture, merged: bool) -> dict[str, Shape]:
    """Return {key: shape} of the same arrays in a checkpoint."""
    places = _places(arch, merged).items()
    return {published_key(n, merged, arch.axes): published_shape(n, shape, arch.axes) for n, shape in places}


# Prefixes that training on several GPUs, torch.compile and Lightning add to all keys.
PREFIXES = re.compile(r"\A((module|_orig_mod|model)\.)+")


def _model_state(file: TorchFile) -> dict[str, StoredTensor]:
    """Return {key: tensor} of a checkpoint, without the prefixes that all keys share."""
    content = file.content if isinstance(file.content, dict) else {}
    state = known(content.get("model_state"), "model_state")
    whole = isinstance(state, dict) and state
    expect(whole, "holds no model_state, expected a dictionary with model_state and cfg")
    expect(len(state) <= MAX_ARRAYS, f"model_state: found {len(state)} weights, expected at most {MAX_ARRAYS}")
    for key, tensor in state.items():
        found = quoted(key)
        named = isinstance(key, str) and isinstance(known(tensor, f"model_state: {found}"), StoredTensor)
        expect(named, f"model_state: found {found} of type {type(tensor).__name__}, expected named tensors")
    common = os.path.commonprefix(list(state))  # noqa: RUF071  # of characters, to be cut off
    shared = len(common) - len(PREFIXES.sub("", common))
    state = {key[shared:]: tensor for key, tensor in state.items()}
    if prefixed := [key for key in state if PREFIXES.match(key)]:
        found = f"{len(prefixed)} of {len(state)} keys start with '{prefixed[0].partition('.')[0]}.'"
        raise MinirepError(f"model_state: {found}, expected all or none")
    return state


class _Weights:
    """The weights in an open file; every key and every shape fits its configuration."""

    def __init__(self, file: TorchFile, config: "_Settings"):
        self.file, self.state = file, _model_state(file)
        self.arch = _architecture(config, self.state)
        self.has_merged = any("_reparam." in key for key in self.state)
        branches = any(key.endswith((".branch2.a.weight", ".branch2.b.weight")) for key in self.state)
        self.merged = self.arch.kind == REP and self.has_merged and not branches  # they are all there is
        self._require_fit()

    def _require_fit(self) -> None:
        """Check that every key and every shape fits, and that the weights are at most twice as large as the file."""
        arch, state = self.arch, self.state
        expected = _published(arch, self.merged)
        if arch.kind == REP and self.has_merged:
            expected |= _published(arch, merged=True)  # its other keys are in both
        # A batch norm may store how many batches it saw in training, which is not needed.
        counters = {k.replace(".running_mean", ".num_batches_tracked"): () for k in expected if "running_mean" in k}
        shapes = expected | counters
        faults = {
            "missing": [key for key in expected if key not in state],
            "not expected": [quoted(key) for key in state if key not in shapes],
            "of another shape": [f"{key} {state[key].shape} for {shape}" for key, shape in shapes.items()
                                 if key in state and state[key].shape != shape],
        }  # fmt: skip
        found = "; ".join(f"{what}: {_some(names)}" for what, names in faults.items() if names)
        expect(not found, f"the weights do not fit {arch.kind}, width {arch.width}, as configured; {found}")
        weights, size = sum(state[key].nbytes for key in expected), self.file.size
        expect(weights <= 2 * size, f"its tensors overlap: {weights} bytes of weights in a file of {size} bytes")

    def array(self, name: str, shape: Shape, merged: bool) -> np.ndarray:
        """Return one array of the tree, float32 and C-contiguous.

        PyTorch has the output channels first, the tree has them last, and the other axes have the same order. So one
        transposition converts the weights of the stem and of all 1 x 1, depthwise and linear layers.
        """
        key = published_key(name, merged, self.arch.axes)
        expect(self.state[key].is_float, f"{key} holds whole numbers, expected floating point")
        with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, and is refused
            published = self.file.read(self.state[key]).reshape(shape[-1], -1)
            array = published.T.reshape(shape).astype(np.float32, order="C")
        found = fault(array, name)
        expect(not found, f"{key} {found}")
        return array


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


DEPTHS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}  # the meaning of RESNET.DEPTH
# TRAIN.DATASET of the published configurations
DATASETS = {
    "vggsound": "vggsound",
    "epicsound": "epic-sounds",
    "epickitchens": "epic-kitchens-100",
    "speechcommandv2": "speech-commands-v2",
    "urbansound8k": "urbansound8k",
    "nsynth": "nsynth",
}
# Settings that would change what the network computes, and the only value that is supported here.
FIXED = {"AUDIO_DATA.NUM_FREQUENCIES": MELS, "MODEL.HEAD_ACT": "softmax", "RESNET.NUM_GROUPS": 1}
# Settings that published configurations lack and our own training writes, with their defaults.
OWN = {"SMALL_KERNELS": list(SMALL_KERNELS), "ORDER": ORDERS[0], "EXPANSION": 4}


class _Settings:
    """The configuration of a checkpoint; settings have names such as "RESNET.WIDTH_PER_GROUP"."""

    def __init__(self, file: TorchFile):
        text: Any = known(file.content.get("cfg"), "cfg") if isinstance(file.content, dict) else None
        expect(isinstance(text, str), "holds no configuration, expected a text cfg beside model_state")
        try:
            self.settings = parse(text)
        except ValueError as error:
            raise MinirepError(f"its configuration is not understood: {error}") from None

    def expect(self, holds: object, name: str, value: object, wanted: object) -> None:
        expect(holds, f"its configuration has {name} = {quoted(value)}, expected {wanted}")

    def get(self, name: str, *kinds: type, default=None):
        """Return a value of one of the given types; it is required if there is no default."""
        value = self.settings
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is None and default is not None:
            return default
        expect(value is not None, f"its configuration has no {name}")
        fits = isinstance(value, kinds) and not isinstance(value, bool)
        self.expect(fits, name, value, " or ".join(kind.__name__ for kind in kinds))
        return value

    def dataset(self) -> str:
        """Return the data set of the training, by its name in the configuration."""
        name = self.get("TRAIN.DATASET", str).lower()
        self.expect(name and name.isprintable(), "TRAIN.DATASET", name, "a printable name")
        return name

    def per_stage(self, name: str, default: list | None = None) -> Shape:
        """Return one whole number per stage, from lists of any depth: [[1], [2], [2], [2]] -> (1, 2, 2, 2)."""
        value = self.get(name, list, default=default)
        numbers = tuple(map(_alone, value))
        self.expect(all(type(number) is int for number in numbers), name, value, "one whole number a stage")
        return numbers

    def own(self, name: str):
        """Return a setting that our own training writes under MINIREP: small kernels, order or expansion."""
        if unknown := sorted(map(str, self.get("MINIREP", dict, default={}).keys() - OWN.keys())):
            raise MinirepError(f"its configuration has {quoted(unknown[0])} in MINIREP, expected {', '.join(OWN)}")
        return self.get(f"MINIREP.{name}", type(OWN[name]), default=OWN[name])


def _alone(value):
    """Return the only element of nested lists: [[21]] -> 21."""
    return _alone(value[0]) if isinstance(value, list) and len(value) == 1 else value


def _architecture(config: _Settings, state: dict[str, StoredTensor]) -> Architecture:
    """Make the architecture from the configuration; depths and classes are counted in the weights and compared."""
    for name, value in FIXED.items():
        found = config.get(name, type(value), default=value)
        config.expect(found == value, name, found, value)
    dilated = set(config.per_stage("RESNET.FREQUENCY_DILATIONS", [])) - {1}
    expect(not dilated, "its configuration has RESNET.FREQUENCY_DILATIONS, expected all of them to be 1")
    small = config.own("SMALL_KERNELS")
    config.expect(len(small) < len(SCALES), "MINIREP.SMALL_KERNELS", small, "two at most")

    def kernels(name):  # the configuration lists the largest of each stage, after that of the stem
        return tuple((largest, *small) for largest in config.per_stage(name)[1:])

    strides = config.per_stage("RESNET.TIME_STRIDES", [1, 2, 2, 2])
    return Architecture(
        kind=config.get("MODEL.MODEL_NAME", str),
        width=config.get("RESNET.WIDTH_PER_GROUP", int),
        depths=_depths(config, state, len(strides)),
        order=config.own("ORDER"),
        expansion=config.own("EXPANSION"),
        time_kernels=kernels("RESNET.TEMP_KERNEL_SIZES"),
        freq_kernels=kernels("RESNET.FREQ_KERNEL_SIZES"),
        time_strides=strides,
        freq_strides=config.per_stage("RESNET.FREQUENCY_STRIDES", [1, 2, 2, 2]),
        heads=_heads(config, state),
        frames=config.get("AUDIO_DATA.NUM_FRAMES", int),
    )


def _depths(config: _Settings, state: dict[str, StoredTensor], stages: int) -> Shape:
    """Count the blocks of each stage in the weights; one of the two settings for it must agree."""
    blocks = {key.split(".branch")[0] for key in state if ".branch" in key}  # "s2.pathway0_res0" ...
    count = Counter(block.partition(".")[0] for block in blocks)
    found = tuple(count[f"s{i + 2}"] for i in range(stages))
    enough = len(state) >= 15 * len(blocks)  # a block has 19 weights and more; a file of empty ones must not cost much
    expect(enough, f"holds {len(state)} weights in {len(blocks)} blocks: too few to be a network")
    named = DEPTHS.get(config.get("RESNET.DEPTH", int, default=0), ())
    configured = {named, config.per_stage("RESNET.NUM_BLOCK_TEMP_KERNEL", [])} - {()}
    expected = " or ".join(str(depths) for depths in sorted(configured))
    said = f"the weights have {found} blocks in the stages, the configuration says {expected}"
    expect(not configured or found in configured, said)
    return found


def _heads(config: _Settings, state: dict[str, StoredTensor]) -> dict[str, int]:
    """Return {head: classes} from the biases: a single head is "class", several have names such as "verb", "noun".

    MODEL.NUM_CLASSES must agree, except for UrbanSound8K: its published configuration has 35 classes, its weights 10.
    """
    bias = re.compile(r"head\.projection(?:_(\w{1,40}))?\.bias")
    heads = {name[1] or "class": tensor.size for key, tensor in state.items() if (name := bias.fullmatch(key))}
    single = isinstance(config.get("MODEL.NUM_CLASSES", int, list), int)
    configured = [config.get("MODEL.NUM_CLASSES", int)] if single else list(config.per_stage("MODEL.NUM_CLASSES"))
    counts = sorted(heads.values())
    published_slip = config.dataset() == "urbansound8k" and configured == [35] and counts == [10]
    said = f"the weights have heads for {quoted(heads)} classes, the configuration says {quoted(configured)}"
    expect(counts == sorted(configured) or published_slip, said)
    return heads


def _recipe(config: _Settings, arch: Architecture) -> Recipe:
    """Return the published recipe of the data set, or a new one for an unknown data set, with the file's own values."""
    name = config.dataset()
    published = RECIPES.get(DATASETS.get(name, ""))
    settings: dict[str, tuple] = {
        "rate": ("AUDIO_DATA.SAMPLING_RATE", int),
        "clip_seconds": ("AUDIO_DATA.CLIP_SECS", int, float),
        "window_ms": ("AUDIO_DATA.WINDOW_LENGTH", int, float),
        "hop_ms": ("AUDIO_DATA.HOP_LENGTH", int, float),
        "frames": ("AUDIO_DATA.NUM_FRAMES", int),
        "views": ("TEST.NUM_ENSEMBLE_VIEWS", int),
    }
    values = {key: config.get(*setting, default=getattr(published, key, None)) for key, setting in settings.items()}
    values["heads"] = arch.heads
    return replace(published, **values) if published else Recipe(name, **values)


MAX_CHARACTERS = 1 << 20  # of all texts together


def _known_labels(recipe_name: str, heads: dict[str, int]) -> dict[str, tuple[str, ...]]:
    """Return the labels published with the recipe if their number fits, else numbers.

    A network for UrbanSound8K may have the 35 outputs of its published configuration: 10 are named, 25 numbered.
    """
    names = published_labels(recipe_name) if recipe_name in RECIPES else {}
    labels = numbered_labels(heads)
    for head, known_names in names.items():
        if heads.get(head) == len(known_names) or (recipe_name == "urbansound8k" and heads.get(head) == 35):
            labels[head] = known_names + labels[head][len(known_names) :]
    return labels


def _extras(file: TorchFile, heads: dict[str, int]) -> dict:
    """Return the entries that our own training adds to a checkpoint, in a dictionary "minirep".

    All are optional: "recipe", "licence" and "credit" are text, and "labels" is {head: [text, one per class]}. A pickle
    can use one list or text a thousand times. So numbers are compared before names, and every use of a text counts.
    """
    extras = known(file.content.get("minirep", {}), "minirep")
    expect(isinstance(extras, dict), "minirep: expected a dictionary")
    taken = {key: extras[key] for key in ("recipe", "licence", "credit") if key in extras}
    labels = known(extras.get("labels", {}), "minirep: labels")
    lists = isinstance(labels, dict) and all(isinstance(names, (list, tuple)) for names in labels.values())
    expect(lists, "minirep: expected labels as {head: list of names}")
    counts = {head: len(names) for head, names in labels.items()}
    expect(not labels or counts == heads, f"labels: found {quoted(counts)} names, expected {quoted(heads)}")
    texts = [*taken.values(), *(name for names in labels.values() for name in names)]
    size = sum(len(text) for text in texts if isinstance(known(text, "minirep"), str))
    expect(size <= MAX_CHARACTERS, f"minirep: found {size} characters in all texts, expected at most {MAX_CHARACTERS}")
    plain = all(isinstance(text, str) and text.isprintable() for text in texts)
    expect(plain, "minirep: expected recipe, licence, credit and labels of printable text")
    return taken | ({"labels": {head: tuple(names) for head, names in labels.items()}} if labels else {})
