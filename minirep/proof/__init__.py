"""Proof that merging leaves the function as it is.

bounds        how far rounding can carry a network from its function: computed from its weights
verify        merged and unmerged networks compared with those bounds, block by block
exported      the same of an exported network, in the programs that run it
"""
