"""Pure functions from scored rows to a scalar."""
