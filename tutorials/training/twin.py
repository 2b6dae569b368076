"""Both networks in PyTorch, with the published state-dict keys: for training, and as an independent check of minirep.

Tensors are (N, C, T, F): time first, then frequency, as in the published checkpoints. `Twin` is for gradients and for
comparison; to classify a sound, use minirep itself.
"""

import collections
import dataclasses

import torch
from torch import nn
from torch.nn import functional

REP, INCEPTION = "AudioRepInceptionNeXt", "AudioInceptionNeXt"
TIME_FIRST, FREQUENCY_FIRST = "time-frequency", "frequency-time"
SCALES = (21, 11, 3)  # sizes of a layer's branches as published
SUFFIXES = ("", "_medium", "_small")  # in the keys: which of the branches it is, the first, second or third
SHAPES = {"a": lambda k: (k, 1), "b": lambda k: (1, k)}  # of a kernel: "a" in the keys is along time, "b" frequency


def pointwise(channels_in, channels_out, stride=1):
    """A 1x1 convolution, the only kind that mixes channels."""
    return nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False)


def depthwise(channels, kernel, bias=False):
    """One filter a channel, `kernel` = (k, 1) along time or (1, k) along frequency; keeps the size."""
    padding = tuple(k // 2 for k in kernel)
    return nn.Conv2d(channels, channels, kernel, padding=padding, groups=channels, bias=bias)


@dataclasses.dataclass(frozen=True)
class Options:
    """What all blocks of a network have in common. `merged`: None (branches), "both" (and merged ones) or "alone"."""

    kind: str
    small: tuple[int, ...]  # sizes of the branches beside the largest
    order: str
    expansion: int
    merged: str | None

    @property
    def suffixes(self):
        """Of the branches of a layer."""
        return SUFFIXES[: 1 + len(self.small)]

    @property
    def axes(self):
        """The two axes in the order of the forward pass."""
        return "ab" if self.order == TIME_FIRST else "ba"


class Branch(nn.Module):
    """What a block adds to its shortcut. `largest`: size of the largest kernel along each axis, {"a": 21, "b": 21}."""

    def __init__(self, options, channels_in, channels, largest, stride):
        super().__init__()
        self.options = options
        self.a_head, self.a_head_bn = pointwise(channels_in, channels, stride), nn.BatchNorm2d(channels)
        for axis, shape in SHAPES.items():
            sizes = (largest[axis], *options.small) if options.merged != "alone" else ()
            for suffix, size in zip(options.suffixes, sizes):
                self.add_module(axis + suffix, depthwise(channels, shape(size)))
                self.add_module(f"{axis}_bn{suffix}", nn.BatchNorm2d(channels))
            if options.merged:
                self.add_module(f"{axis}_reparam", depthwise(channels, shape(largest[axis]), bias=True))
        wide = options.expansion * channels
        self.c, self.c_bn = pointwise(channels, wide), nn.BatchNorm2d(wide)
        self.d, self.d_bn = pointwise(wide, channels), nn.BatchNorm2d(channels)

    def scale(self, axis, suffix, x):
        """One depthwise branch and its batch norm."""
        return getattr(self, f"{axis}_bn{suffix}")(getattr(self, axis + suffix)(x))

    def scales(self, axis, x):
        """The sum of the branches along one axis, or what the merged kernel makes of it."""
        if self.options.merged:
            return getattr(self, f"{axis}_reparam")(x)
        return sum(self.scale(axis, suffix, x) for suffix in self.options.suffixes)

    def forward(self, x):  # (N, C_in, T, F) -> (N, C, T / stride, F / stride)
        h = self.a_head_bn(self.a_head(x))
        if self.options.kind == REP:
            h = functional.relu(h)
            for axis in self.options.axes:
                h = functional.relu(h + self.scales(axis, h))  # every scale along an axis at once, and the input itself
            e = functional.relu(self.c_bn(self.c(h)))
        else:  # separate chains: each has its own ReLU between the two axes, so they cannot be merged
            chains = []
            for suffix in self.options.suffixes:
                y = h
                for axis in self.options.axes:
                    y = functional.relu(self.scale(axis, suffix, y))
                chains.append(y)
            e = self.c_bn(self.c(sum(chains)))
        return self.d_bn(self.d(e))


class Block(nn.Module):
    """`ReLU(shortcut(x) + branch(x))`. The shortcut has weights only where the shape changes."""

    def __init__(self, options, channels_in, channels, largest, stride):
        super().__init__()
        if stride != 1 or channels_in != channels:
            self.branch1, self.branch1_bn = pointwise(channels_in, channels, stride), nn.BatchNorm2d(channels)
        self.branch2 = Branch(options, channels_in, channels, largest, stride)

    def forward(self, x):
        shortcut = self.branch1_bn(self.branch1(x)) if hasattr(self, "branch1") else x
        return functional.relu(shortcut + self.branch2(x))


class Stage(nn.Sequential):
    """Blocks named as published; the first of stages 2 to 4 halves both axes and doubles the channels."""

    def __init__(self, options, channels_in, channels, depth, largest, stride):
        blocks = collections.OrderedDict()
        for j in range(depth):
            first = (channels_in, stride) if j == 0 else (channels, 1)
            blocks[f"pathway0_res{j}"] = Block(options, first[0], channels, largest, first[1])
        super().__init__(blocks)


class Stem(nn.Module):
    """(N, 1, T, F) -> (N, w, T / 4, F / 4)."""

    def __init__(self, width):
        super().__init__()
        self.pathway0_stem = nn.ModuleDict({
            "conv": nn.Conv2d(1, width, (5, 7), stride=2, padding=(2, 3), bias=False),
            "bn": nn.BatchNorm2d(width),
        })  # fmt: skip

    def forward(self, x):
        x = functional.relu(self.pathway0_stem["bn"](self.pathway0_stem["conv"](x)))
        return functional.max_pool2d(x, 3, stride=2, padding=1)


class Head(nn.Module):
    """Average pool over one clip's worth of frames, then a linear layer per head at every position it can stand."""

    def __init__(self, channels, heads, frames, dropout):
        super().__init__()
        self.window, self.dropout = (frames // 32, 4), nn.Dropout(dropout)
        # one head is called plainly "projection"; several carry their names
        self.names = {h: "projection" if len(heads) == 1 else f"projection_{h}" for h in heads}
        for head, classes in heads.items():
            self.add_module(self.names[head], nn.Linear(channels, classes))

    def forward(self, x):  # (N, C, T, F) -> {head: (N, classes)}: logits in training, else probabilities
        x = functional.avg_pool2d(x, self.window, stride=1).flatten(2).transpose(1, 2)  # (N, positions, C)
        logits = {h: getattr(self, name)(self.dropout(x)) for h, name in self.names.items()}
        return {h: (y if self.training else y.softmax(-1)).mean(1) for h, y in logits.items()}


class Twin(nn.Module):
    """Either network: `Twin("AudioRepInceptionNeXt", 16, heads={"class": 12}, frames=512)`.

    width: channels of stage 1; each later stage has twice as many.
    depths: blocks per stage.  heads: {name: number of classes}, in the order they are stored.
    scales: sizes of the branches of every layer, one to three; three are published.
    time_kernels, freq_kernels: the first branch's size instead of scales[0], one number or one a stage.
    order: the axis that comes first, "time-frequency" as published or "frequency-time".
    expansion: how many times as wide as the block its last two convolutions are in between.
    frames: length of one clip, which fixes the head's pooling window; longer inputs give several positions.
    merged: "both" or "alone" to hold the merged kernels (and use them), see `merged_state`.
    """

    def __init__(self, kind=REP, width=64, depths=(3, 4, 6, 3), heads=None, time_kernels=None, freq_kernels=None,
                 frames=512, dropout=0.5, merged=None, scales=SCALES, order=TIME_FIRST, expansion=4):  # fmt: skip
        super().__init__()
        if kind not in (REP, INCEPTION) or (merged and kind != REP):
            raise ValueError(f"no such network: {kind}, merged {merged}")
        if order not in (TIME_FIRST, FREQUENCY_FIRST) or not 1 <= len(scales) <= len(SUFFIXES):
            raise ValueError(f"no such network: order {order}, scales {scales}")
        self.kind, self.width, self.depths, self.frames, self.merged = kind, width, tuple(depths), frames, merged
        self.heads, self.dropout = dict(heads or {"class": 12}), dropout
        self.scales, self.order, self.expansion = tuple(scales), order, expansion
        self.time_kernels, self.freq_kernels = (per_stage(k or scales[0]) for k in (time_kernels, freq_kernels))
        options = Options(kind, self.scales[1:], order, expansion, merged)
        self.s1 = Stem(width)
        channels_in = width
        for i, (depth, k_t, k_f) in enumerate(zip(self.depths, self.time_kernels, self.freq_kernels, strict=True)):
            channels = width * 2**i
            stage = Stage(options, channels_in, channels, depth, {"a": k_t, "b": k_f}, 1 if i == 0 else 2)
            self.add_module(f"s{i + 2}", stage)
            channels_in = channels
        self.head = Head(channels_in, self.heads, frames, dropout)
        initialise(self)

    def forward(self, x):  # (N, 1, T, 128) -> {head: (N, classes)}
        for stage in (self.s1, self.s2, self.s3, self.s4, self.s5):
            x = stage(x)
        return self.head(x)


def per_stage(kernels):
    """21 -> (21, 21, 21, 21); four numbers stay as they are."""
    return (kernels,) * 4 if isinstance(kernels, int) else tuple(kernels)


def initialise(twin):
    """He initialisation; what a block adds to its shortcut starts at half its size; small linear layers."""
    for module in twin.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)
        elif isinstance(module, Branch):
            nn.init.constant_(module.d_bn.weight, 0.5)  # from 0, as often done, learning begins much later


def stage_outputs(twin, x):
    """{"stem": (N, C, T, F), "stage1": ... "stage4": ...} for (N, 1, T, 128)."""
    outputs = {}
    for name, stage in zip(("stem", "stage1", "stage2", "stage3", "stage4"), list(twin.children()), strict=False):
        outputs[name] = x = stage(x)
    return outputs


def randomise(twin, seed=0):
    """Random weights, and batch-norm statistics far from (0, 1), so that no term of a comparison is trivially zero."""
    generator = torch.Generator().manual_seed(seed)
    for module in twin.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.2, generator=generator)
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            std = 0.3 if isinstance(module, nn.Linear) else (2 / module.weight[0].numel()) ** 0.5
            module.weight.data.normal_(0, std, generator=generator)
            if module.bias is not None:
                module.bias.data.normal_(0, 0.2, generator=generator)
    return twin


def merged_state(state, keep_branches=True, eps=1e-5):
    """The state dict with merged kernels, as the authors' own merge leaves it: the identity is NOT in the kernel.

    `keep_branches` True gives the kind for `Twin(merged="both")`, False the kind for `merged="alone"`.
    """
    merged = collections.OrderedDict(state)
    for key in [k for k in state if k.endswith((".branch2.a.weight", ".branch2.b.weight"))]:
        prefix, axis = key[: -len("a.weight")], key[-len("a.weight")]  # "s2.pathway0_res0.branch2.", "a"
        dim = 2 if axis == "a" else 3
        kernel, bias = torch.zeros_like(state[key]), 0
        for suffix in SUFFIXES:
            if f"{prefix}{axis}{suffix}.weight" not in state:
                continue  # fewer than three branches
            bn = {n: state[f"{prefix}{axis}_bn{suffix}.{n}"] for n in ("weight", "bias", "running_mean", "running_var")}
            gain = bn["weight"] / torch.sqrt(bn["running_var"] + eps)  # (C,)
            weight = state[f"{prefix}{axis}{suffix}.weight"]  # (C, 1, k, 1) or (C, 1, 1, k)
            start = (kernel.shape[dim] - weight.shape[dim]) // 2
            kernel.narrow(dim, start, weight.shape[dim]).add_(weight * gain[:, None, None, None])
            bias = bias + bn["bias"] - bn["running_mean"] * gain
            if not keep_branches:
                unused = (f"{prefix}{axis}{suffix}.", f"{prefix}{axis}_bn{suffix}.")
                for name in [k for k in state if k.startswith(unused)]:
                    del merged[name]
        merged[f"{prefix}{axis}_reparam.weight"], merged[f"{prefix}{axis}_reparam.bias"] = kernel, bias
    return merged


# TRAIN.DATASET of each recipe, and its front end: rate, window ms, hop ms, clip seconds, frames, views
FRONT_ENDS = {
    "vggsound": ("vggsound", 16000, 20, 10, 5.119, 512, 2),
    "epic-sounds": ("epicsound", 24000, 10, 5, 2.08, 416, 5),
    "epic-kitchens-100": ("epickitchens", 24000, 10, 5, 2.08, 416, 10),
    "speech-commands-v2": ("speechcommandv2", 16000, 5, 2, 1.023, 512, 1),
    "urbansound8k": ("urbansound8k", 16000, 20, 10, 4.16, 416, 2),
    "nsynth": ("nsynth", 16000, 20, 10, 4.16, 416, 1),
    "digits": ("digits", 16000, 20, 10, 1.279, 128, 1),  # our own, like the next
    "sounds": ("sounds", 16000, 40, 20, 2.559, 128, 4),
}


def config_text(twin, recipe="speech-commands-v2"):
    """The YAML text that the authors' trainer stores beside the weights, the keys that describe the network only.

    What their settings cannot say stands under MINIREP, and only where it is not as published: SMALL_KERNELS (sizes of
    the branches beside the largest), ORDER and EXPANSION.
    """
    dataset, rate, window, hop, clip, _, views = FRONT_ENDS[recipe]
    lines = ["AUDIO_DATA:", f"  CLIP_SECS: {clip}", f"  HOP_LENGTH: {hop}", f"  NUM_FRAMES: {twin.frames}"]
    lines += ["  NUM_FREQUENCIES: 128", f"  SAMPLING_RATE: {rate}", f"  WINDOW_LENGTH: {window}"]
    own = {"SMALL_KERNELS": list(twin.scales[1:]), "ORDER": twin.order, "EXPANSION": twin.expansion}
    published = {"SMALL_KERNELS": list(SCALES[1:]), "ORDER": TIME_FIRST, "EXPANSION": 4}
    if own != published:
        lines += ["MINIREP:", *(f"  {name}: {value}" for name, value in own.items() if value != published[name])]
    lines += ["MODEL:", "  ARCH: fast", f"  DROPOUT_RATE: {twin.dropout}"]
    if twin.kind == REP:
        lines += [f"  MERGE_MODE: {'true' if twin.merged else 'false'}"]
    lines += [f"  MODEL_NAME: {twin.kind}", "  NUM_CLASSES:", *(f"  - {n}" for n in twin.heads.values())]
    lines += ["RESNET:", "  FREQUENCY_STRIDES:", *(f"  - - {s}" for s in (1, 2, 2, 2))]
    lines += ["  FREQ_KERNEL_SIZES:", *(f"  - - - {k}" for k in (7, *twin.freq_kernels))]
    for name in ("NUM_BLOCK_FREQ_KERNEL", "NUM_BLOCK_TEMP_KERNEL"):
        lines += [f"  {name}:", *(f"  - - {d}" for d in twin.depths)]
    lines += ["  TEMP_KERNEL_SIZES:", *(f"  - - - {k}" for k in (5, *twin.time_kernels))]
    lines += ["  TIME_STRIDES:", *(f"  - - {s}" for s in (1, 2, 2, 2))]
    inference = "inference_" if twin.merged == "alone" else ""
    lines += [f"  TRANS_FUNC: ms_threeway_dw_bottleneck_{inference}transform", f"  WIDTH_PER_GROUP: {twin.width}"]
    lines += ["TEST:", f"  NUM_ENSEMBLE_VIEWS: {views}", "TRAIN:", f"  DATASET: {dataset}"]
    return "\n".join(lines) + "\n"


def save_checkpoint(path, twin, recipe="speech-commands-v2", epoch=0, optimizer=None, extras=None):
    """Write `path` in the authors' format: a dict of epoch, model_state, optimizer_state and cfg.

    extras: what minirep's own trainings add under "minirep": recipe (its name), labels, licence, credit.
    """
    extras = {"minirep": extras} if extras else {}
    torch.save({
        "epoch": epoch,
        "model_state": collections.OrderedDict(twin.state_dict()),
        "optimizer_state": optimizer.state_dict() if optimizer else None,
        "cfg": config_text(twin, recipe),
        **extras,
    }, path)  # fmt: skip
