"""Settings with which each registered engine is quick: on tables, and on a tiny model at the command line."""

CHAIN = ("chains=4", "burn_in=2", "thin=1")
SMALL = {
    "importance": (),
    "rejection": ("most=200",),
    "quasi_rejection": ("pilot=32", "most=200"),
    "best_of_n": ("of=3",),
    "soft_best_of_n": ("of=3",),
    "smc": ("particles=4", "islands=2", "scheme=residual", "segment_tokens=2"),
    "particle_gibbs": ("particles=4", "burn=1"),
    "suffix_mh": CHAIN,
    "block_mh": (*CHAIN, "size=2"),
    "independent_mh": CHAIN,
    "parallel_tempering": (*CHAIN, "rungs=3"),
    "annealed": ("steps=3",),
    "speculative": ("draft_temperature=2.0", "ahead=2"),
    "stochastic_beam": (),
    "token_product": (),
    "sequence_product": ("particles=8", "islands=2"),
}
"""Settings below sample.ENGINE. of every engine in the registry; a new engine needs its line here."""
