"""Pure functions on arrays: distances between samples, classifiers, responses, rates, each with its uncertainty."""
