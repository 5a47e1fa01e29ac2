"""Conversations: what is said, what moved it, and what people thought of it."""
