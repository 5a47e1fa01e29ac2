"""Prior and evidence in, posterior out, by sampling or by training, with the distance measured in nats.

    p*(x|c) = π0(x|c) · exp(r(x,c)/β) / Z(c)
    E_π[r] − β KL(π‖π0) = β log Z − β KL(π‖p*)

The names below are loaded on first use, so that `import credence` costs no torch.
"""
