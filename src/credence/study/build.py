"""From checked settings to the parts: prior, evidence, prompts."""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from credence.core.errors import BackendError, ConfigError
from credence.core.keys import Key
from credence.core.protocols import Evidence, StepPrior
from credence.core.types import Completions, Prompts
from credence.evidence.calling import RewardFunction, awaited
from credence.evidence.constraint import Constraint, between, contains, matches
from credence.evidence.ended import Ended
from credence.evidence.product import Product
from credence.evidence.reward import Reward
from credence.evidence.sentiment import Sentiment
from credence.learn.loop import Measure
from credence.posterior.posterior import Posterior
from credence.prior.hf import LMPrior
from credence.prior.load import load
from credence.prior.policy import LMPolicy, full_policy, lora_policy
from credence.prior.reshape import Reshaped, reshape
from credence.study.classified import classified
from credence.study.config import PriorConfig, RunConfig
from credence.study.data import PromptSet, Split, load_prompts, split
from credence.study.evidence_config import ConstraintConfig, EvidenceConfig, RewardConfig, TargetConfig
from credence.study.experts import experts
from credence.study.functions import ANSWER, VADER, load_function
from credence.study.job import Job
from credence.study.listening import listener
from credence.study.preference import preference
from credence.study.reward_heads import reward_head
from credence.study.weights import WeightsConfig

Say = Callable[[str], object]


def to_stderr(line: str) -> None:
    """Where words go that nobody else takes."""
    sys.stderr.write(f"{line}\n")


def evidence(
    config: Job, answers: Sequence[str] = (), prior: StepPrior | None = None, say: Say = to_stderr
) -> Evidence:
    """The product of all entries; readings bear the rewards' names.

    Args:
        config: with the entries.
        answers: reference answers, for the reward "answer".
        prior: what experts and a realigned policy are compared with, they are loaded here; and whose replies a reward
            learnt from comparisons is measured against.
        say: told what was found in a file of comparisons, and what they are worth.

    Raises:
        ConfigError: a reward file, a model or comparisons that cannot be used; or a prior is needed and not given.
        BackendError: a model's files cannot be read.
    """
    given: EvidenceConfig = config.evidence
    parts: list[Evidence] = [_reward(r, config, answers) for r in given.reward]
    parts += [classified(c, config.folder) for c in given.classifier]
    parts += [Ended(given.ended.cut)] if given.ended.cut < 0 else []
    parts += [_constraint(c) for c in given.constraint]
    if isinstance(given, TargetConfig) and given.compares:
        if prior is None:
            raise ConfigError(
                "evidence.expert and evidence.realign compare other models with the prior: they are for `credence "
                "sample` and `credence chat`."
            )
        parts.append(experts(given, config, prior))
    if isinstance(given, TargetConfig) and given.learnt:
        if prior is None:
            raise ConfigError(
                "evidence.preference and evidence.reward_head read replies by the prior's own states and centres: they "
                "are for `credence run`, `sample`, `chat` and `beta`."
            )
        heads = [] if given.preference is None else [preference(given.preference, config, prior, say)]
        heads += [reward_head(head, config, prior, say) for head in given.reward_head]
        place = len(given.reward) + len(given.classifier)
        parts[place:place] = heads  # before the rest: reports call the first reading the reward
    if isinstance(given, TargetConfig) and given.listener is not None:
        if prior is None:
            raise ConfigError(
                "evidence.listener hears replies by the prior's own model: it is for `credence run`, `sample`, `chat`, "
                "`explain` and `beta`."
            )
        parts.append(listener(given.listener, prior))
    if not parts:
        raise ConfigError(
            "evidence is empty: the posterior would be the prior. Give a reward, a classifier, a constraint, "
            "comparisons, an expert, a listener or ended.cut."
        )
    return parts[0] if len(parts) == 1 else Product(tuple(parts))


def _reward(config: RewardConfig, run: Job, answers: Sequence[str]) -> Reward | Sentiment:
    if config.fn == VADER:
        return _sentiment(config)
    fn = load_function(config.fn, run.folder, answers)
    name = config.name or (ANSWER if config.fn == ANSWER else str(getattr(fn, "__name__", "reward")))
    parts: Mapping[str, RewardFunction] = getattr(fn, "parts", {})
    if config.weight < 0:
        fn, name = _negated(fn), f"-{name}"
    return Reward(
        fn,
        config.beta / abs(config.weight),  # weight · r / beta nats, the reading stays r
        name=name,
        on_prefix=config.on_prefix,
        timeout=config.timeout,
        bound=math.inf if config.bound is None else config.bound,
        messages=config.messages,
        none=config.none,
        parts=parts,
    )


def _sentiment(config: RewardConfig) -> Sentiment:
    if config.bound is not None and config.bound < 1:
        raise ConfigError(
            f"evidence.reward.bound = {config.bound:g} with fn = {VADER!r}: VADER's compound reaches 1. Remove bound, "
            "it is known."
        )
    sign = 1 if config.weight > 0 else -1
    name = config.name and (config.name if sign > 0 else f"-{config.name}")
    return Sentiment(config.beta / abs(config.weight), sign, config.on_prefix, name, config.timeout)


def gold(config: RunConfig) -> Measure | None:
    """`measure.gold` as a measure of replies, called as rewards are; None where the config names none.

    Raises:
        ConfigError: no such function, or the choice is left to a gold that is not named.
    """
    given = config.measure
    if not given.gold:
        if given.gold_chooses:
            raise ConfigError("measure.gold_chooses = true, and measure.gold names nothing that could choose.")
        return None
    if given.gold == VADER:
        reward: Reward | Sentiment = Sentiment(1.0, name="gold")
    else:
        reward = Reward(load_function(given.gold, config.folder), 1.0, name="gold")

    def measured(prompts: Prompts, completions: Completions) -> list[float]:
        return reward.readings(prompts, completions)["gold"].tolist()

    return measured


def _negated(fn: RewardFunction) -> RewardFunction:
    from functools import wraps

    @wraps(fn)  # keeps the signature, by which columns are handed over
    def negative(*args: Any, **columns: Any) -> list[float | None]:  # noqa: ANN401 - passes through what Reward hands over
        return [None if value is None else -value for value in awaited(fn(*args, **columns))]

    return negative


def _constraint(config: ConstraintConfig) -> Constraint:
    if config.contains:
        return contains(*config.contains, otherwise=config.otherwise)
    if config.matches:
        return matches(config.matches, otherwise=config.otherwise)
    return between(config.min_chars, config.max_chars, otherwise=config.otherwise)


def model(config: Job) -> LMPrior:
    """The model itself, at temperature 1; a relative folder begins at the config file's.

    Raises:
        ConfigError: unknown model or device.
        BackendError: its files cannot be read.
    """
    given: PriorConfig = config.prior
    check_device(given.device)
    beside = config.folder / given.model
    return load(
        str(beside) if beside.is_dir() else given.model,
        horizon=given.horizon,
        system=given.system,
        style=given.style,
        device=given.device,
        dtype=getattr(torch, given.dtype),
    )


def prior(config: Job, base: LMPrior | None = None) -> Reshaped:
    """The prior: the model (loaded, unless given) at the config's temperature, top-k and top-p."""
    given = config.prior
    return reshape(base or model(config), given.temperature, given.top_k, given.top_p)


def posterior(config: RunConfig, say: Say = to_stderr) -> Posterior:
    """Prior and evidence. Evidence that needs no other model is made before the prior is loaded: mistakes show early.

    `say` is told of what a file of comparisons holds.

    Raises:
        ConfigError: as evidence and model.
        BackendError: a model's files cannot be read.
    """
    made = None if config.evidence.needs_prior else evidence(config)
    base = prior(config)
    return Posterior(base, evidence(config, prior=base, say=say) if made is None else made)


def check_device(device: str) -> None:
    """Refuse a device that torch does not know or this machine does not have.

    Raises:
        ConfigError: not a device's name.
        BackendError: not on this machine.
    """
    try:
        kind = torch.device(device).type
    except RuntimeError:
        raise ConfigError(
            f"device {device!r}: torch knows no such device; write cpu, cuda, cuda:1 or mps.", "device", device=device
        ) from None
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise BackendError(
            f"device {device!r} is not to be had here ({reason}). Use --device cpu.", "no device", device=device
        ) from error
    if kind == "meta":
        raise ConfigError("device 'meta' holds no numbers; write cpu, cuda, cuda:1 or mps.")


def prompt_sets(config: RunConfig) -> tuple[PromptSet, Split]:
    """All prompts, and who goes where by the config's seed.

    Raises:
        ConfigError: the source cannot be read or holds too few.
    """
    given = config.prompts
    found = load_prompts(given.source, config.folder)
    return found, split(len(found), given.train, given.validation, given.heldout, Key(config.seed))


def policy(prior: StepPrior, given: WeightsConfig, key: Key, value: bool = False) -> LMPolicy:
    """The policy that is the prior, its own weights trained or adapters; perhaps with a value of each prefix.

    Raises:
        ConfigError: a prior cut to top-k or top-p, or a rank below 1.
        MissingExtraError: adapters without peft.
    """
    if given.method == "full":
        return full_policy(prior, value=value, only=given.only)
    return lora_policy(prior, key, given.rank, given.alpha, value=value)
