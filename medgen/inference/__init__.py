"""Prediction: tiles, one volume, a cohort. Importing this package imports no torch."""
