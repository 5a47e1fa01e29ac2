"""Recorded replies of a run: read before anything is loaded, and made into rows of the prior's tokens."""

from collections.abc import Callable

import torch

from credence.core.errors import ConfigError
from credence.core.protocols import Batch
from credence.core.types import Completions, Prompts, concat
from credence.dialogue.room import encoded
from credence.dialogue.stream import as_row
from credence.evidence.comparisons import gather
from credence.evidence.labels import gather_labels
from credence.learn.recorded import stored_comparisons, stored_demonstrations, stored_labels
from credence.prior.reshape import Reshaped
from credence.study.config import RunConfig
from credence.study.recorded import Recorded, load_recorded
from credence.study.recorded_learners import ComparedConfig, JudgedConfig, RecordedConfig

Say = Callable[[str], None]


def asked(config: RunConfig) -> RecordedConfig | None:
    """The engine of stage 2, if it learns from recorded replies."""
    given = config.train.chosen
    return given if isinstance(given, RecordedConfig) and given.steps > 0 else None


def read(config: RunConfig) -> Recorded | None:
    """The file that the engine of stage 2 learns from; None where it draws itself.

    Raises:
        ConfigError: no file is named or it cannot be read; or a setting that recorded replies have no use for.
        MissingExtraError: a .parquet file without pyarrow.
    """
    given, train = asked(config), config.train
    if given is None:
        return None
    if not given.data:
        raise ConfigError(
            f"train.{train.engine}.data is empty: {train.engine} learns from recorded {given.recorded}s. Name "
            "their file."
        )
    idle = {
        "train.beta.schedule": train.beta.schedule != "fixed",
        "train.replay.groups": train.replay.groups > 0,
        "train.stop.kl_budget": train.stop.kl_budget is not None,
    }
    for name, there in idle.items():
        if there:
            raise ConfigError(
                f"{name} is for engines that draw from the policy, and {train.engine} learns from recorded replies, "
                "which carry their own β. Remove it."
            )
    return load_recorded(given.data, given.recorded, config.folder)


def rows(given: RecordedConfig, recorded: Recorded, prior: Reshaped, say: Say) -> tuple[Prompts, Batch]:
    """Prompts and stored rows for the engine; what is left out, repeated or contradicted is said.

    A reply longer than the horizon is left out: cut, it would be another reply than the one that was judged.

    Raises:
        ConfigError: no example is left, a prompt that does not fit, or as learn.recorded.

    Cost: one scoring pass over the replies.
    """
    prompts = prior.codec.prompts(recorded.given, recorded.columns)
    tokens = [[encoded(prior, text) for text in sides] for sides in recorded.replies]
    context, longest = getattr(prior.inner, "context", None), max(len(ids) for sides in tokens for ids in sides)
    room = context - prior.horizon if context is not None else None
    fits = [all(len(ids) <= prior.horizon for ids in sides) for sides in tokens]
    kept = [i for i, fine in enumerate(fits) if fine and (room is None or len(prompts.ids[i]) <= room)]
    if len(kept) < len(recorded):
        say(
            f"{len(recorded) - len(kept)} of {len(recorded)} examples are left out: their reply is longer than the "
            f"horizon of {prior.horizon} tokens (the longest has {longest}), or their prompt leaves no room for one"
        )
    if not kept:
        raise ConfigError(
            f"no example of {given.data} is left: every reply is longer than prior.horizon = {prior.horizon} tokens, "
            f"or its prompt does not fit. Raise the horizon (the longest reply has {longest})."
        )
    prompts = prompts.take(kept)
    replies = _replies([tokens[i] for i in kept])
    said = torch.tensor([recorded.said[i] for i in kept], dtype=torch.float64)
    if isinstance(given, ComparedConfig):
        comparisons, found = gather(prompts, replies, said, given.repeats)
        for words in found.words([recorded.where[i] for i in kept]):
            say(words)
        softened = comparisons.softened(given.wrong)
        return softened.prompts, stored_comparisons(prior, softened, given.beta)
    if isinstance(given, JudgedConfig):
        liked = [value > 0 for value in said.flatten().tolist()]
        labels = gather_labels(prompts, replies, liked, given.repeats)
        for words in labels.words([recorded.where[i] for i in kept]):
            say(words)
        prompts, replies = prompts.take(labels.kept), _replies([tokens[kept[i]] for i in labels.kept])
        return prompts, stored_labels(prior, prompts, replies, [liked[i] for i in labels.kept], given.beta)
    return prompts, stored_demonstrations(prior, prompts, replies)


def _replies(tokens: list[list[list[int]]]) -> Completions:
    """Replies as rows; those of example i answer prompt i."""
    flat = [(i, ids) for i, sides in enumerate(tokens) for ids in sides]
    return concat([as_row(ids, True) for _, ids in flat], [i for i, _ in flat])
