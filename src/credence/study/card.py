"""The model card of an exported policy."""

from credence.report.manifest import without_paths
from credence.report.schema import Estimate, Report
from credence.study.config import RunConfig

EMBEDDED = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""Where the model "smollm2", which comes in a package, is published; its licence is Apache 2.0."""


def _use(config: RunConfig) -> str:
    if config.train.method == "value":
        return (
            "This folder holds a value of prefixes and not the model: `credence.prior.guided_file.load_guide(folder, "
            "prior)`\nmakes the policy from it and the prior above, at the same temperature."
        )
    return (
        "`generate()` with the generation config in this folder samples exactly this law: temperature\n"
        f"{config.prior.temperature:g}, all tokens, at most {config.prior.horizon} new ones. Render prompts with the "
        "chat template\nand the system message above."
    )


def unmeasured_card(config: RunConfig, status: str) -> str:
    """The card of a policy whose run was interrupted, or failed."""
    return (
        f"# {config.name}\n\nThe run {'was interrupted' if status == 'interrupted' else status} before this policy was "
        "measured: it had the best validation ELBO so far, and nothing is known of its distance to the posterior.\n"
    )


def card(made: Report, config: RunConfig) -> str:
    """The exported policy's model card, with its measured KL and gap."""
    row = next(r for r in reversed(made.ruler) if r.kind == "train")

    def shown(e: Estimate | None, unit: str = " nats") -> str:
        return "not measured" if e is None else f"{e.value:.3f} [{e.low:.3f}, {e.high:.3f}]{unit}"

    model = EMBEDDED if config.prior.model == "smollm2" else without_paths(config.prior.model)
    licence = "license: apache-2.0\n" if model == EMBEDDED else ""
    # a folder of the author's machine is nobody's base model, and its path is nobody's business
    base = f"base_model: {model}\n" if model == EMBEDDED or model == config.prior.model else ""
    doubted = sum(not p.trusted for p in made.prompts)
    return f"""---
library_name: transformers
{base}{licence}tags: [credence]
---

# {config.name}

A policy that credence trained towards the posterior π0(x|c)·exp(r(x,c)/β)/Z(c).

- prior: `{model}` at temperature {config.prior.temperature:g}, system message {config.prior.system!r}
- evidence: {"; ".join(_evidence(config))}

Measured on {len(made.prompts)} held-out prompts (95 % intervals over prompts and draws); the estimates of
{doubted} of them are flagged as not to be trusted, with reasons in the run's report:

| measure | value |
|---|---|
| E[{made.reward_name}] | {shown(row.reward, "")} |
| KL(policy ‖ prior) | {shown(row.kl_prior)} |
| KL(policy ‖ posterior) | {shown(row.kl_reverse)} |
| KL(posterior ‖ policy) | {shown(row.kl_forward)} |
| share of the gap closed | {shown(row.gap_closed, "")} |

{_use(config)}

Trained with seed {config.seed} by credence {made.manifest.get("versions", {}).get("credence-lm", "")}.
"""


def _evidence(config: RunConfig) -> list[str]:
    """Each factor in words, with its nats."""
    given = config.evidence
    out = [
        f"reward `{without_paths(r.fn)}`" + ("" if r.weight == 1 else f" × {r.weight:g}") + f" at β = {r.beta:g}"
        for r in given.reward
    ]
    out += [f"a classifier's log p({c.label}) at β = {c.beta:g} (`{without_paths(c.run)}`)" for c in given.classifier]
    heads = [*([] if given.preference is None else [given.preference]), *given.reward_head]
    out += [f"a reward that opinions taught ({h.belief}) at β = {h.beta:g}" for h in heads]
    if given.ended.cut < 0:
        out.append(f"a reply cut at {config.prior.horizon} tokens costs {-given.ended.cut:g} nats")
    for c in given.constraint:
        if c.contains:
            event = "contains " + " or ".join(repr(word) for word in c.contains)
        elif c.matches:
            event = f"matches `{c.matches}`"
        else:
            event = f"has {c.min_chars} to {'any number of' if c.max_chars is None else c.max_chars} characters"
        out.append(f"a reply that {event}, else {c.otherwise:g} nats")
    return out
