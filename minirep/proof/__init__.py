"""Proofs that merging does not change the function of a network.

bounds        upper bounds on the rounding errors of a network, computed from its weights
verify        merged and unmerged networks compared with those bounds, block by block
coarse        the same comparison for a network in bfloat16
exported      the same comparison for an exported network, in other programs
prove         whether two forms of a part of any network are the same function
"""
