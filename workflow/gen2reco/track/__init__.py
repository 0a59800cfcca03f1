"""MLflow: the local spool, its replay into a server, the model registry."""
