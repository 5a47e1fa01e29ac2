"""Engines that draw. Each states what its draws promise (Guarantee).

importance, rejection, best_of_n, smc, speculative, token_product, sequence_product, stochastic_beam.
"""
