"""The types and protocols that every room shares. Import the modules, not this package: errors needs no torch."""
