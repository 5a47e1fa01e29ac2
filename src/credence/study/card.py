"""The model card of an exported policy."""

from credence.report.manifest import without_paths
from credence.report.schema import Estimate, Report
from credence.study.config import RunConfig

EMBEDDED = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""Where the model "smollm2", which comes in a package, is published; its licence is Apache 2.0."""


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
    rewards = ", ".join(f"`{without_paths(r.fn)}` at β = {r.beta:g}" for r in config.evidence.reward) or "none"
    return f"""---
library_name: transformers
{base}{licence}tags: [credence]
---

# {config.name}

A policy that credence trained towards the posterior π0(x|c)·exp(r(x,c)/β)/Z(c).

- prior: `{model}` at temperature {config.prior.temperature:g}, system message {config.prior.system!r}
- evidence: rewards {rewards}; a reply cut at {config.prior.horizon} tokens costs {-config.evidence.ended.cut:g} nats

Measured on {len(made.prompts)} held-out prompts (95 % intervals over prompts and draws):

| measure | value |
|---|---|
| E[{made.reward_name}] | {shown(row.reward, "")} |
| KL(policy ‖ prior) | {shown(row.kl_prior)} |
| KL(policy ‖ posterior) | {shown(row.kl_reverse)} |
| KL(posterior ‖ policy) | {shown(row.kl_forward)} |
| share of the gap closed | {shown(row.gap_closed, "")} |

`generate()` with the generation config in this folder samples exactly this law: temperature
{config.prior.temperature:g}, all tokens, at most {config.prior.horizon} new ones. Render prompts with the chat template
and the system message above.

Trained with seed {config.seed} by credence {made.manifest.get("versions", {}).get("credence-lm", "")}.
"""
