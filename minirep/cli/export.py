"""``minirep export``: export a model to ONNX or .safetensors."""

import argparse

from ..errors import MinirepError
from ..files.modelfile import is_safetensors, write_model
from ..files.models import model_path, read
from ..files.onnxfile import write_onnx
from ..reparam import fuse, is_fused
from .arguments import add_half, add_model_argument
from .output import refuse_source, report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "The input of an .onnx is log_mels (N, T, 128), with any batch size and number of frames; its outputs are "
        "the probabilities (N, classes) of each head. Its metadata contain recipe, labels and provenance. "
        "'minirep verify MODEL --exported NET.onnx' proves that it computes the same function."
    )
    add_model_argument(parser)
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the .onnx or .safetensors to write")
    parser.add_argument("--branches", action="store_true", help="do not merge the branches and batch norms")
    parser.add_argument(
        "--samples", action="store_true", help=".onnx: include the front end; the input is samples (N, n) of a clip"
    )
    add_half(parser)


def run(args) -> int:
    args.source = model_path(args.model)
    refuse_source(args)
    model, onnx = read(args.source), args.output.lower().endswith(".onnx")
    if not onnx and not is_safetensors(args.output):
        raise MinirepError(f"{args.output}: expected a name that ends in .onnx or .safetensors")
    if args.half if onnx else args.samples:
        raise MinirepError("--half needs a .safetensors as output, --samples an .onnx")
    if onnx:
        write_onnx(args.output, model, args.branches, args.samples)
    else:
        model = model if args.branches else model._replace(network=fuse(model.network))
        write_model(args.output, model, args.half)
    report(args.output, f"written, {'not merged' if args.branches and not is_fused(model.network) else 'merged'}")
    return 0
