"""Metrics: functions of numpy arrays that return numbers.

A metric of an absent class or an empty mask is NaN, and :func:`medgen.metrics.statistics.summarise` counts it.
"""
