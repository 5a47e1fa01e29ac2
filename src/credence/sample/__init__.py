"""Engines that draw: importance, rejection, best_of_n, smc. Each states what its draws promise (Guarantee)."""
