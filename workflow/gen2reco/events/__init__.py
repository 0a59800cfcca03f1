"""The records that pass between stages: Arrow schemas, readers and writers, and adapters to outside formats."""
