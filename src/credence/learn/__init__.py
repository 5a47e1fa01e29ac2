"""Engines that train: pure losses, and one loop that collects, scores, steps, records and saves."""
