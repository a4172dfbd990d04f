"""Predictors without a network, and how they are scored beside a run."""
