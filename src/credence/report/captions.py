"""What the page explains, for a reader who is not a Bayesian: one sentence a measure."""

HERO = (
    "A nat is a factor of 2.7 in probability. A small β makes the posterior strict and the share of the gap "
    "flattering, so read the nats that remain beside it. Square brackets hold 95 % intervals over prompts and draws."
)

TERMS = {
    "Mean reward": "what the replies earn; alone it can be gamed by replies that no speaker would give.",
    "KL to the prior": "how far the law has moved from the original model; 0 is unmoved.",
    "KL to the posterior": "how far it still is from the target; it grows with replies that the target would hardly "
    "give. This is the ruler.",
    "KL from the posterior": "the same the other way round: it grows with good replies that the law misses. A dash: "
    "this law has no computable density.",
    "Gap closed": "0 % is the prior, 100 % the posterior: the original model reweighted by the evidence, "
    "exp(reward/β), the best that any law can do at this β.",
}

BOUNDS = "≤ and ≥ mark bounds: the truth lies on that side, and the brackets belong to the bound."

FRONTIER = (
    "The curve is the target's own family, the analytic optimum for each β. Where it is dashed and shaded, too few "
    "draws carry it to be trusted. Crosses are 95 % intervals; a hollow mark stands at a bound. "
)
SLACK = (
    "The vertical distance of a point below the line of slope β through the posterior is β·KL(law‖p*): the reward, at "
    "the going rate, that is still left on the table. No law can lie above the curve, sampling error aside."
)
NO_SLACK = (
    "The line of slope β touches the curve at the posterior. The height below it is not exactly β·KL(law‖p*) here, "
    "because the reward drawn is not the whole evidence (a cut reply also costs, say) or the two were measured on "
    "different draws; so a law that neglects the rest may stand above the curve. The table has the KL."
)

TRAINING = (
    "The ELBO, the mean evidence in nats less the KL to the prior, is a lower bound on log Z; training pushes it up, "
    "and what is missing is the KL to the posterior. Faint: each step's estimate; firm: its running mean. Diamonds are "
    "validation prompts with 95 % intervals; the ringed one is the checkpoint that was kept. Held-out prompts chose "
    "nothing."
)

GOLD = (
    "Each point is a validation of training, in its order: left the evidence that is optimised, right the gold measure "
    "that it stands for, on the same draws. Both grow with the root of the KL at first; where gold turns while the "
    "proxy still rises, the policy is over-optimised. The ringed point is the checkpoint that was kept."
)

TOKENS = (
    "Each token is coloured by log π/π0: how much likelier the law makes it than the prior did, given what came "
    "before. Dotted underlines are the less likely ones, each shade begins at the number shown; hover over a token for "
    "its own. The mean over replies of the sums is the KL to the prior."
)

PROMPTS = (
    "log Z is how much the evidence likes what the prior already says; pooled, where shown, adds the policy's draws to "
    "the prior's. ESS: how many equal draws the weighted ones are worth. k̂ above 0.7: a few draws carry the "
    "weight, and more draws may change the answer. The bounds of log Z hold in expectation, not each time. Exact draws "
    "are posterior replies got by rejection; a prompt with fewer than two has no upper bound (?). Marked rows are not "
    "to be trusted alone."
)

COST = (
    "A trained law is paid for once: the tokens drawn beforehand and those it learnt from, counted at every pass, and "
    "CPU time, validation included. A law that is drawn is paid for at every reply: here one reply of its own to each "
    "held-out prompt. The draws are what its row in the table rests on; what measuring costs is not counted."
)
