"""The detector as arrays: geometry, propagation to the front face, tracks."""
