"""``minirep export``: export a model to ONNX or .safetensors."""

import argparse

from ..errors import expect
from ..files.modelfile import is_safetensors, write_model
from ..files.models import model_path, read
from ..files.onnxfile import write_onnx
from ..reparam import fuse, is_fused
from .arguments import share
from .output import refuse_source, report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "The input of an .onnx is log_mels (N, T, 128), with any batch size and number of frames; its outputs are "
        "the probabilities (N, classes) of each head. Its metadata contain recipe, labels and provenance. "
        "'minirep verify MODEL --exported NET.onnx' proves that it computes the same function."
    )
    share(parser, "model")
    share(parser, "--output", metavar="FILE", help="the .onnx or .safetensors to write")
    parser.add_argument("--branches", action="store_true", help="do not merge the branches and batch norms")
    samples = ".onnx: include the front end; the input is samples (N, n) of a clip"
    parser.add_argument("--samples", action="store_true", help=samples)
    share(parser, "--half")


def run(args) -> int:
    args.source = model_path(args.model)
    refuse_source(args)
    model, onnx = read(args.source), args.output.lower().endswith(".onnx")
    known = onnx or is_safetensors(args.output)
    expect(known, f"{args.output}: expected a name that ends in .onnx or .safetensors")
    unfit = args.half if onnx else args.samples
    expect(not unfit, "--half needs a .safetensors as output, --samples an .onnx")
    if onnx:
        write_onnx(args.output, model, args.branches, args.samples)
    else:
        model = model if args.branches else model._replace(network=fuse(model.network))
        write_model(args.output, model, args.half)
    report(args.output, f"written, {'not merged' if args.branches and not is_fused(model.network) else 'merged'}")
    return 0
