"""Engines that draw: importance, rejection, best_of_n, smc. Each states what its draws promise (Guarantee).

Chains: suffix_mh, block_mh, independent_mh, tempering; and annealed, which carries weighted draws along the same path.
"""
