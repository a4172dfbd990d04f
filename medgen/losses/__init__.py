"""Losses: functions of raw logits or images that return a scalar; state is an argument.

All of them compute in float32 or better, also under autocast, because the sums and small differences in them
lose their meaning in half precision.
"""
