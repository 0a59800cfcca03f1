"""From records to tables of observables, a module a record; OBSERVABLES lists them in the order of the report."""
