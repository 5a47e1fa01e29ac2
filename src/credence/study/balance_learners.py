"""Tables of the engines that balance log π − log π0 − log_lik against a log Z, or a value of prefixes."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from credence.study.learner import LearnerConfig
from credence.study.section import Count, Rate

if TYPE_CHECKING:
    from torch import Tensor

    from credence.core.protocols import Batch, Policy, StepPrior
    from credence.core.types import Prompts
    from credence.learn.collect import Learner, ValueLearner

Rows = Literal["prior", "policy"]
Held = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class TrajectoryBalanceConfig(LearnerConfig):
    """Trajectory balance with a log Z for each prompt, begun at the prior draws' own and learnt beside the policy."""

    name_shown = "trajectory balance"

    draws: Rows = Field("policy", description="to learn from: fresh ones of the policy, or the prior's of [train.dpg]")
    log_z_lr: Held = Field(0.02, description="nats that Adam moves a log Z in a step; 0 holds them")

    @property
    def on_prior(self) -> bool:
        """Yes: log Z begins at theirs."""
        return True

    def learner(self) -> "Learner":
        """See LearnerConfig."""
        from credence.learn.balance import TrajectoryBalance

        return TrajectoryBalance(self.prompts, self.group, self.lr, on_policy=self.draws == "policy")

    def beside(self, policy: "Policy", prior: "StepPrior", prompts: "Prompts", stored: "Batch | None") -> "Policy":
        """log Z of each prompt: learnt, or held."""
        from credence.prior.flowing import known_log_z, learnt_log_z

        begun = start(stored)
        if not self.log_z_lr:
            return known_log_z(policy, prompts, begun)
        return learnt_log_z(policy, prompts, self.log_z_lr / self.lr, begun)


class VarGradConfig(LearnerConfig):
    """Balance without a log Z: the draws of a prompt are compared with one another."""

    name_shown = "VarGrad"

    group: Annotated[int, Field(ge=2)] = Field(8, description="replies a prompt")
    draws: Rows = Field("policy", description="to learn from: fresh ones of the policy, or the prior's of [train.dpg]")

    @property
    def on_prior(self) -> bool:
        """Where it recalls them."""
        return self.draws == "prior"

    def learner(self) -> "Learner":
        """See LearnerConfig."""
        from credence.learn.balance import VarGrad

        return VarGrad(self.prompts, self.group, self.lr, on_policy=self.draws == "policy")


class AStarPoConfig(LearnerConfig):
    """A*-PO: log Z from the prior's draws once, then a regression on the policy's own."""

    name_shown = "A*-PO"

    group: Count = Field(4, description="replies a prompt; one will do")

    @property
    def on_prior(self) -> bool:
        """Yes: its log Z is theirs."""
        return True

    def learner(self) -> "Learner":
        """See LearnerConfig."""
        from credence.learn.a_star_po import AStarPO

        return AStarPO(self.prompts, self.group, self.lr)

    def beside(self, policy: "Policy", prior: "StepPrior", prompts: "Prompts", stored: "Batch | None") -> "Policy":
        """log Z of each prompt, held."""
        from credence.prior.flowing import known_log_z

        return known_log_z(policy, prompts, start(stored))


class SubTBConfig(LearnerConfig):
    """Sub-trajectory balance: every piece of a reply balances, with a value of prefixes beside the policy."""

    name_shown = "sub-trajectory balance"
    passes_cost = 3.2

    decay: Rate = Field(0.9, description="weight of a piece over that of a piece one token shorter")
    value_lr: Rate = Field(2e-3, description="Adam's step size of the value, linear in the prior's states")

    @property
    def on_prior(self) -> bool:
        """Yes: it recalls them."""
        return True

    def learner(self) -> "ValueLearner":
        """See LearnerConfig."""
        from credence.learn.values.subtb import SubTB

        return SubTB(self.prompts, self.group, self.lr, decay=self.decay)

    def beside(self, policy: "Policy", prior: "StepPrior", prompts: "Prompts", stored: "Batch | None") -> "Policy":
        """A value of prefixes, 0 nats at first."""
        from credence.prior.flowing import with_state_flow

        return with_state_flow(policy, prior, self.value_lr / self.lr)


def start(stored: "Batch | None") -> "Tensor":
    """(B,) nats: each prompt's log Z by its prior draws.

    Raises:
        BackendError: there are none.
    """
    from credence.core.errors import BackendError
    from credence.learn.a_star_po import soft_value

    if stored is None:
        raise BackendError("log Z has no prior draws to begin at: this is a fault of credence, please report it.")
    return soft_value(stored)
