"""Campaign files, the frozen plan, seeds, paths, and the runner of one stage job."""
