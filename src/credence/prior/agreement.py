"""Whether two priors speak of the same completions: the same tokens, the same ends, the same horizon."""

from credence.core.errors import ConfigError
from credence.core.protocols import Prior
from credence.core.types import Codec


def _vocabulary(codec: Codec) -> object:
    """What tells one vocabulary from another: a tokenizer's table, or a table's number of tokens; None: unknown."""
    tokenizer = getattr(codec, "tokenizer", None)
    return getattr(codec, "vocab", None) if tokenizer is None else tokenizer.get_vocab()


def same_vocabulary(first: Codec, second: Codec, names: tuple[str, str]) -> None:
    """Refuse tokens that mean one thing to one model and another to the other.

    Args:
        first: one.
        second: the other.
        names: what the message calls them, such as ("target", "draft").

    Raises:
        ConfigError: another vocabulary.
    """
    one, two = (None, None) if first is second else (_vocabulary(codec) for codec in (first, second))
    if one is not None and two is not None and one != two:
        raise ConfigError(
            f"the {names[1]} reads another vocabulary than the {names[0]} ({_size(two)} against {_size(one)} tokens, "
            "or the same number with other meanings): a token of one is no token of the other. Use two models of one "
            "tokenizer."
        )


def same_completions(first: Prior, second: Prior, names: tuple[str, str]) -> None:
    """Refuse two priors between whose completions no ratio of probabilities exists.

    Args:
        first: one.
        second: the other.
        names: what the message calls them, such as ("target", "draft").

    Raises:
        ConfigError: with both settings: another vocabulary, other end tokens, or another horizon.
    """
    same_vocabulary(first.codec, second.codec, names)
    if first.ends != second.ends or first.horizon != second.horizon:
        raise ConfigError(
            f"the {names[1]} ends by {sorted(second.ends)} within {second.horizon} tokens, the {names[0]} by "
            f"{sorted(first.ends)} within {first.horizon}: their completions differ, so no weight between them exists. "
            "Give both the same end tokens and horizon."
        )


def same_width(first: int, second: int, names: tuple[str, str]) -> None:
    """Refuse logits over different numbers of tokens, which models of one tokenizer have where one pads its embeddings.

    Raises:
        ConfigError: with both numbers.
    """
    if first != second:
        raise ConfigError(
            f"the {names[1]} gives logits of {second} tokens and the {names[0]} of {first}: another vocabulary, or one "
            "of them padded. Bring both to one size (transformers: resize_token_embeddings)."
        )


def _size(vocabulary: object) -> object:
    return len(vocabulary) if isinstance(vocabulary, dict) else vocabulary
