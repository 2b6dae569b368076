"""Models in files: read, written, checked, and put into one file with the code that runs them.

models        `load` and `save`, and which reader a file needs
modelfile     model.npz: network, recipe, labels and provenance, readable with NumPy alone; the same as .safetensors
safetensorsfile  that format
onnxfile      a network as a graph for other programs
checkpoint    the authors' checkpoint.pyth, as a network of ours
torchfile     what torch.save writes, read without executing it
yamltext      the configuration in a checkpoint
bundle        a model and minirep in one runnable file
write         files written whole or not at all; SHA-256
"""
