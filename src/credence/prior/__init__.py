"""Who speaks: laws over completions that can be sampled and scored."""
