"""The target: prior × evidence, exactly where it can be enumerated."""
