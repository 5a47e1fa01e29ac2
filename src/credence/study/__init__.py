"""A run joined from parts by a typed config."""
