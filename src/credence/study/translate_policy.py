"""The small translator: maximum likelihood on the pairs that are short enough, then chrF as reward under a KL."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.types import Completions, Prompts
from credence.diagnose.intervals import Group, bootstrap_all
from credence.evidence.chrf import Counts, chrf, chrf_counts
from credence.evidence.reward import Reward
from credence.learn.loop import Fit, fit
from credence.learn.recorded import stored_demonstrations
from credence.learn.reinforce import Reinforce
from credence.learn.sft import SFT
from credence.learn.validation import Validation
from credence.posterior.posterior import Posterior
from credence.prior.seq2seq import PairCodec, Seq2SeqPolicy, Seq2SeqPrior, seq2seq_policy
from credence.prior.seq2seq_build import learn_codec, tiny_marian
from credence.study.pairs import PairParts, Pairs
from credence.study.translate_config import Seq2SeqConfig

Interval = tuple[float, float, float]
Tick = Callable[[float], None]
RESAMPLES = 500
LOOKS = 4
"""Times that validation is looked at during REINFORCE, beside the beginning."""
DRAWS = 16
"""Of each validation source at each look."""
FEW = 2
"""Short pairs that each part must have."""


@dataclass(frozen=True, eq=False)
class Measured:
    """Held-out sources before and after REINFORCE.

    Attributes:
        drawn: by name, with intervals over sources and draws: reward_before, reward_after (E[r], 0 to 1), reward_gain,
            kl (KL(π‖π0), nats), objective_gain (J − J of the prior, in reward units; J = E[r] − β KL).
        counts: chrF counts of the greedy translations, before and after.
        greedy: those translations.
        sources: held-out sources short enough.
    """

    drawn: dict[str, Interval]
    counts: dict[str, Counts]
    greedy: dict[str, list[str]]
    sources: Pairs


@dataclass(frozen=True, eq=False)
class Translator:
    """A trained translator and what became of it."""

    before: Seq2SeqPrior
    policy: Seq2SeqPolicy
    likelihood: Fit
    rewarded: Fit
    used: int
    measured: Measured


def train_translator(
    given: Seq2SeqConfig, parts: PairParts, key: Key, turn: Callable[[str], Tick], say: Callable[[str], object]
) -> Translator:
    """Maximum likelihood, REINFORCE, and the held-out measure of both.

    Args:
        given: settings.
        parts: pairs; those with more than `longest` tokens on either side are left out.
        key: of weights, batches and draws.
        turn: called with "likelihood", "reward", "measure" as each begins; gives what is told how far it is.
        say: where remarks go.

    Raises:
        ConfigError: too few short pairs.

    Cost: steps × batch pairs forward and backward; rl_steps × prompts × group draws.
    """
    codec = learn_codec([*parts.train.sources, *parts.train.targets], given.vocabulary)
    train, validation, test = (
        short_pairs(codec, p, given.longest) for p in (parts.train, parts.validation, parts.test)
    )
    for name, found in (("training", train), ("validation", validation), ("test", test)):
        if len(found) < FEW:
            raise ConfigError(
                f"seq2seq.longest = {given.longest} leaves {len(found)} {name} pairs that short: at least {FEW} are "
                "needed. Raise it, or leave the translator out: --set seq2seq=none"
            )
    model = tiny_marian(codec, key.fold("weights"), given.width, given.layers, given.heads, given.longest + 1)
    blank = Seq2SeqPrior(model, codec, given.longest, "translator")
    taught_on, rewarded_on = apart(train, given.rewarded, key.fold("apart"))
    prompts = as_prompts(codec, taught_on)
    evidence = Reward(chrf, given.beta, "chrf", bound=1.0)
    policy = seq2seq_policy(blank)
    likelihood = fit(
        Posterior(blank, evidence), policy, prompts,
        SFT(prompts=min(given.batch, len(taught_on)), lr=given.lr, warmup=max(1, given.steps // 20)),
        key.fold("likelihood"), given.steps,
        stored=stored_demonstrations(blank, prompts, as_completions(codec, taught_on)),
        callbacks=[_watching(turn("likelihood"))], say=say,
    )  # fmt: skip
    taught = Seq2SeqPrior(policy.law.model, codec, given.longest, "translator")
    target, rewarded_policy = Posterior(taught, evidence), seq2seq_policy(taught)
    rewarded = fit(
        target, rewarded_policy, as_prompts(codec, rewarded_on),
        Reinforce(prompts=min(given.prompts, len(rewarded_on)), group=given.group, lr=given.rl_lr),
        key.fold("reward"), given.rl_steps,
        validation=Validation(as_prompts(codec, validation), draws=DRAWS, every=max(1, given.rl_steps // LOOKS)),
        callbacks=[_watching(turn("reward"))], say=say,
    )  # fmt: skip
    tick = turn("measure")
    measured = _measure(target, taught, rewarded_policy, test, given.draws, key.fold("measure"), tick)
    return Translator(taught, rewarded_policy, likelihood, rewarded, len(train), measured)


def apart(pairs: Pairs, share: float, key: Key) -> tuple[Pairs, Pairs]:
    """Pairs to learn by likelihood, and pairs kept from it to be rewarded on; at least one of each.

    What likelihood has learnt by heart leaves a reward nothing to say: draws there are the reference already.
    """
    order = [int(i) for i in key.generator().permutation(len(pairs))]
    kept = min(max(1, round(share * len(pairs))), len(pairs) - 1)
    return pairs.take(sorted(order[kept:])), pairs.take(sorted(order[:kept]))


def _watching(tick: Tick) -> Callable[..., None]:
    def watch(record: object, clock: dict[str, float]) -> None:
        tick(float(clock["progress"]))

    return watch


def short_pairs(codec: PairCodec, pairs: Pairs, longest: int) -> Pairs:
    """Those whose source and translation, each with its end, have at most `longest` tokens."""
    sizes = [max(len(codec.encode(x)), len(codec.encode(y))) for x, y in pairs.both()]
    return pairs.take([i for i, size in enumerate(sizes) if size < longest])


def as_prompts(codec: PairCodec, pairs: Pairs) -> Prompts:
    """Sources to translate, each with its reference for the reward."""
    return codec.prompts(pairs.sources, {"reference": list(pairs.targets)})


def as_completions(codec: PairCodec, pairs: Pairs) -> Completions:
    """The references as completions, row i of prompt i."""
    rows = [[*codec.encode(y), codec.end] for y in pairs.targets]
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
    mask = torch.tensor([[True] * len(row) + [False] * (width - len(row)) for row in rows])
    return Completions(ids, mask, torch.ones(len(rows), dtype=torch.bool), torch.arange(len(rows)))


def _measure(
    target: Posterior, taught: Seq2SeqPrior, policy: Seq2SeqPolicy, test: Pairs, draws: int, key: Key, tick: Tick
) -> Measured:
    """Rewards and KL of draws by the same key, and greedy translations, before and after."""
    prompts, rows = as_prompts(taught.codec, test), dict[str, Float[Tensor, "B n"]]()
    for place, (name, law) in enumerate((("before", taught), ("after", policy))):
        completions, log_q = law.sample(key, prompts, draws)
        rows[name] = target.evidence.readings(prompts, completions)["chrf"].view(len(test), draws)
        if name == "after":
            rows["kl"] = (log_q - taught.score(prompts, completions)).sum(-1).view(len(test), draws)
        tick(0.4 * (place + 1))
    beta = float(getattr(target.evidence, "beta", 1.0))
    groups: list[Group] = [
        {"before": rows["before"][i], "after": torch.stack([rows["after"][i], rows["kl"][i]], 1)}
        for i in range(len(test))
    ]

    def statistics(groups: object) -> dict[str, float]:
        found: list[Group] = groups  # pyright: ignore[reportAssignmentType]
        before = float(torch.stack([g["before"].mean() for g in found]).mean())
        reward, kl = torch.stack([g["after"].mean(0) for g in found]).mean(0).tolist()
        return {"reward_before": before, "reward_after": reward, "reward_gain": reward - before, "kl": kl,
                "objective_after": reward - beta * kl, "objective_gain": reward - beta * kl - before}  # fmt: skip

    drawn = bootstrap_all(statistics, groups, key.fold("bootstrap"), resamples=RESAMPLES)
    greedy = {"before": taught.likeliest(prompts), "after": policy.law.likeliest(prompts)}
    counts = {name: chrf_counts(texts, test.targets) for name, texts in greedy.items()}
    tick(1.0)
    return Measured(drawn, counts, greedy, test)
