"""Rewards of your own: name one as `fn = "rewards.py:questions"` in a config beside this file.

A reward takes the prompts and the completions, both as lists of text, and returns one number for each completion.
A third parameter named like a column of your prompt file receives that column. -inf forbids a completion.
"""


def questions(prompts: list[str], completions: list[str]) -> list[float]:
    """1 for a reply that asks something back, 0 for one that does not."""
    return [float("?" in text) for text in completions]


def brief(prompts: list[str], completions: list[str]) -> list[float]:
    """Minus the number of words: with beta = 5, five words more cost one nat."""
    return [-float(len(text.split())) for text in completions]
