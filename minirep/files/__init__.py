"""Model files: read, write and check them, and pack one into a program.

models        `load` and `save`, and the choice of the reader for a file
modelfile     model.npz: network, recipe, labels and provenance, readable with NumPy alone; the same as .safetensors
safetensorsfile  .safetensors files
onnxfile      a network as a graph for other programs
checkpoint    the authors' checkpoint.pyth, as a `Network`
torchfile     files of torch.save, read without executing code from them
yamltext      the configuration in a checkpoint
bundle        a model and minirep in one runnable file
write         files written completely or not at all; SHA-256
"""
