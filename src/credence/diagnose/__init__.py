"""How far to trust a result."""
