"""Engines that draw. Each states what its draws promise (Guarantee).

Whole replies: importance, rejection, quasi_rejection, best_of_n, soft_best_of_n, stochastic_beam. Particles: smc,
conditional_smc, particle_gibbs. Chains: suffix_mh, block_mh, independent_mh, tempering; and annealed, which carries
weighted draws along the same path. Several models: speculative, token_product, sequence_product.
"""
