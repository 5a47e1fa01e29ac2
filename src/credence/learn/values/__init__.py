"""Learners of a value of prefixes, from stored draws: one file an engine."""
