"""Particle Gibbs: a Markov chain of completions, each taken from a conditional SMC run that holds the last one."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from credence.core.errors import ConfigError, ShapeError
from credence.core.keys import Key
from credence.core.protocols import Guarantee, StepPrior, Target
from credence.core.status import Status
from credence.core.types import Completions, Cost, Draws, Prompts, concat, pad_to
from credence.sample.conditional_smc import Sweep, sweep
from credence.sample.importance import PROBE, check_probe
from credence.sample.potential import Twist
from credence.sample.resample import Scheme
from credence.sample.rules import Rules
from credence.sample.segments import EVERY_TOKEN, Segments
from credence.sample.smc import SMC


@dataclass(frozen=True)
class ParticleGibbs:
    """Chains of conditional SMC sweeps: x_{s+1} is taken by weight from K particles, one of which follows x_s.

    Target: p*, which each sweep leaves invariant at every K ≥ 2. Guarantee: CONSISTENT: the draws are exact as `burn`
    grows, since a chain starts from a draw of plain SMC, which is not exact; `chain` starts where it is told, and from
    an exact draw every state is exact. Draws of one chain are dependent.

    log_z and log_z_se are those of the SMC run that gave the starts: its islands are as many as there are chains.
    log_w is 0. A prompt for which that run found nothing possible has Status.DEGENERATE, log_z = -inf and weights of 0;
    one whose proposal is seen to be zero where the posterior is not has Status.UNREACHED, as in SMC.

    info, a prompt: moved (share of all sweeps that took another path than the retained one: near 0 the chain stands
    still, and its draws are copies), unique (distinct texts among the n draws), sweeps (a chain, burnt ones included),
    and missed, as SMC's.
    log_q: the proposal's, along each draw's own path.

    Args:
        particles: K, at least 2: more make a sweep likelier to move, and its early tokens too.
        chains: independent ones; the n draws are taken from them in turn.
        burn: sweeps before the first draw.
        threshold, proposal, scheme, twist, segments, probe: as SMC's.

    Raises:
        ConfigError: a setting out of range, or what SMC refuses.
        ContractError: a twist that breaks its law, among them -inf at a text from which a chain went on.

    Cost: chains × particles × (1 + burn + n/chains) replies a prompt. Source: Andrieu, Doucet & Holenstein 2010.
    Tested in tests/statistical/test_conditional.py (invariance, chi-square), wrong versions in
    tests/mutants/test_conditional_mutants.py.
    """

    particles: int = 16
    chains: int = 4
    burn: int = 4
    threshold: float = 0.5
    proposal: StepPrior | None = None
    scheme: Scheme = "systematic"
    twist: Twist | None = None
    segments: Segments = EVERY_TOKEN
    probe: int = PROBE
    guarantee: ClassVar[Guarantee] = Guarantee.CONSISTENT

    def __post_init__(self) -> None:
        if self.particles < 2 or self.chains < 1 or self.burn < 0:
            raise ConfigError(
                f"ParticleGibbs(particles={self.particles}, chains={self.chains}, burn={self.burn}): at least two "
                "particles (one of them is the retained), one chain, and no fewer than 0 sweeps to burn are needed."
            )
        check_probe(self.probe)
        self.rules()

    def rules(self) -> Rules:
        """How each run grows."""
        return Rules(self.particles, self.threshold, self.proposal, self.scheme, self.twist, self.segments)

    def chain(self, key: Key, posterior: Target, prompts: Prompts, start: Completions) -> Iterator[Sweep]:
        """Sweep after sweep without end, one chain a prompt, from row b of `start` on prompt b.

        Raises as conditional_smc.sweep does.
        """
        path, count = start, 0
        while True:
            found = sweep(key.fold("sweep", count), posterior, prompts, path, self.rules())
            path, count = found.completions, count + 1
            yield found

    def draw(self, key: Key, posterior: Target, prompts: Prompts, n: int) -> Draws:
        """n draws a prompt, prompt-major: sweep after sweep, the chains in turn."""
        began = time.process_time()
        if n < 1 or len(prompts) == 0:
            raise ShapeError(f"n={n} draws of {len(prompts)} prompts were asked for: at least 1 of each is needed.")
        start = self._start(key.fold("start"), posterior, prompts)
        alive = [b for b, status in enumerate(start.status) if status is not Status.DEGENERATE]
        count = -(-n // self.chains)
        states, moved, tokens = [start] * count, torch.zeros(len(prompts), dtype=torch.float64), start.cost.tokens
        if alive:
            rows = torch.cat([start.of(b) for b in alive])
            wide = prompts.take([b for b in alive for _ in range(self.chains)])
            begin = replace(start.completions.rows(rows), prompt=torch.arange(len(rows), device=rows.device))
            walk = self.chain(key, posterior, wide, begin)
            sweeps = [next(walk) for _ in range(self.burn + count)]
            share = torch.stack([s.moved.view(len(alive), -1) for s in sweeps]).double().mean((0, 2))
            moved[alive] = share.cpu()
            states = [_put(start, rows, s) for s in sweeps[self.burn :]]
            tokens += sum(s.tokens for s in sweeps)
        draws = self._together(states, len(prompts), n)
        return replace(
            draws,
            cost=Cost(tokens, time.process_time() - began),
            key=key,
            info={
                "moved": moved,
                "unique": torch.tensor([len(set(_texts(draws, b))) for b in range(len(prompts))], dtype=torch.float64),
                "sweeps": torch.full((len(prompts),), float(self.burn + count), dtype=torch.float64),
                **{name: values for name, values in start.info.items() if name == "missed"},
            },
        )

    def _start(self, key: Key, posterior: Target, prompts: Prompts) -> Draws:
        """One start a chain, by weight from the particles of as many islands."""
        rules = self.rules()
        smc = SMC(
            rules.particles, self.chains, rules.threshold, rules.proposal, rules.scheme, rules.twist, rules.segments,
            self.probe,
        )  # fmt: skip
        return smc.draw(key, posterior, prompts, self.chains)

    def _together(self, states: list[Draws], prompts: int, n: int) -> Draws:
        """The states of all sweeps as rows, prompt-major, sweep after sweep within a prompt, the first n of each."""
        size = prompts * self.chains
        place = torch.arange(len(states) * size).view(len(states), prompts, self.chains)
        index = place.transpose(0, 1).reshape(prompts, -1)[:, :n].flatten()
        merged = concat([s.completions for s in states], [0] * len(states))
        width = merged.ids.shape[1]
        index = index.to(merged.ids.device)
        return replace(
            states[0],
            completions=merged.rows(index),
            log_q=torch.cat([pad_to(s.log_q, width) for s in states])[index],
            log_w=torch.where(torch.isneginf(states[0].log_z), -torch.inf, 0.0).double().repeat_interleave(n),
            readings={name: torch.cat([s.readings[name] for s in states])[index] for name in states[0].readings},
        )


def _put(start: Draws, rows: Tensor, found: Sweep) -> Draws:
    """The starts with the chains' present states in the places of the rows that run."""
    width = max(start.completions.ids.shape[1], found.completions.ids.shape[1])
    whole = concat([start.completions, found.completions], [0, 0])
    source = torch.arange(len(start.completions), device=rows.device)
    source[rows] = len(source) + torch.arange(len(rows), device=rows.device)
    log_q = torch.cat([pad_to(start.log_q, width), pad_to(found.log_q, width)])
    return replace(
        start,
        completions=replace(whole.rows(source), prompt=start.completions.prompt),
        log_q=log_q[source],
        readings={name: torch.cat([v, found.readings[name]])[source] for name, v in start.readings.items()},
    )


def _texts(draws: Draws, b: int) -> list[tuple[int, ...]]:
    return [tuple(row) for row in draws.completions.rows(draws.of(b)).tokens()]
