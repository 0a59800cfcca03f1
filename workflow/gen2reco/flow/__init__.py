"""The generative core: conditional flow matching on vectors and sets, its training, and its distillation to one step.

It knows no physics: a stage room gives it coordinates, kinds and conditions, and gets coordinates back.
"""
