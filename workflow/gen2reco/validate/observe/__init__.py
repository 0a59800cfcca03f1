"""From records to tables of observables, a module a record; `validate.all_observables` lists them."""
