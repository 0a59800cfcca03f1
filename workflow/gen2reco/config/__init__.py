"""Configuration blocks with types, defaults and a sentence each, and the strict YAML that they are read from."""
