"""Learned showers: a particle at the front face → its calibrated deposits, in one evaluation of a flow network.

Three steps, each with an exact place for each number: the layer where the shower starts; then, by one evaluation of
the distilled flow, the energy and number of cells of all layers together (`layers`); then the cells themselves, layer
by layer, each given the cells before it (`cells`).
"""
