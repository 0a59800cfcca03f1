"""From records to sheets of observables: one module a record, each knowing its quantities by name and label."""
