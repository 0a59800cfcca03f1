"""Pure functions on arrays: distances between samples, classifiers, responses, rates, each with its uncertainty.

For validation, calibration and promotion alike; nothing here knows a record or a file.
"""
