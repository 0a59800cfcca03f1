"""Campaign files, the frozen plan, pinned models, and the rates and costs of stages."""
