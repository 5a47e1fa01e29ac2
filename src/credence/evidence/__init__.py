"""What we learnt: log-likelihoods in nats, which add when multiplied and scale when tempered."""
