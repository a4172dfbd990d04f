"""Patches of prepared cases as batches: stateless, and streamed from one or two sets of cases."""
