"""The whole loop of a dialogue agent: talk, hear the reward, update. Run: python examples/dialogue_loop.py [MODEL]

MODEL is smollm2 (embedded), a folder or a hub id. With validation and a report: credence dialogue train.
"""

import sys
from collections.abc import Mapping

from credence import Key, Reward, load
from credence.core.protocols import StepPrior
from credence.dialogue.agent import DialogueAgent
from credence.dialogue.env import DialogueEnv
from credence.dialogue.goals import Goal
from credence.dialogue.users import User
from credence.evidence.telling import brief, overlap
from credence.prior.policy import full_policy

USER = User("visitor", Goal("What is the capital of France?", "Paris is the capital of France."))


def main(prior: StepPrior, updates: int = 3) -> Mapping[str, float]:
    env = DialogueEnv([USER], Reward(overlap, 0.2) * Reward(brief, 1.0), Reward(overlap, 1.0), max_turns=2)
    agent = DialogueAgent(full_policy(prior), prior, Key(0), lr=1e-5)
    info: Mapping[str, float] = {}
    for update in range(updates):
        states, actions, rewards, over = [], [], [], False
        state, _ = env.reset(seed=update)
        while not over:
            states.append(state)
            actions.append(agent.select_action(state))
            state, reward, ended, truncated, _ = env.step(actions[-1])
            rewards.append(reward)
            over = ended or truncated
        info = agent.update_model(states, actions, rewards)
        print("\n".join(f"{m['role']}: {m['content']}" for m in env.transcript))
        print(f"J/β {info['j']:.2f} nats, KL a turn {info['kl_turn']:.3f}, gradient norm {info['grad_norm']:.2f}\n")
    return info


if __name__ == "__main__":
    main(load(sys.argv[1] if len(sys.argv) > 1 else "smollm2", horizon=24, system="Answer in one short sentence."))
