"""Generative core shared by the learned generator and the learned simulation; it knows no physics."""
