"""Compare samples: metrics with uncertainties and floors, figures, the report."""
