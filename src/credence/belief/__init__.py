"""Bayes over a finite list of hypotheses: what is believed, how a text moves it, how strongly it may."""
