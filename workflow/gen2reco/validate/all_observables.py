"""What is measured of every record, in the order of the report."""

from gen2reco.validate.observables import RecordObservables
from gen2reco.validate.observe import (
    cluster_observables,
    hit_observables,
    object_observables,
    particle_observables,
)

_MODULES = (particle_observables, hit_observables, cluster_observables, object_observables)
OBSERVABLES: dict[str, RecordObservables] = {module.OBSERVABLES.record: module.OBSERVABLES for module in _MODULES}
"""By record."""
