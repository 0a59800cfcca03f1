"""gen2reco: from hard partons to calibrated, validated collider events, each step reference or learned."""

__version__ = "0.1.0"
