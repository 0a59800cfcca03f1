# What differs from profiles/slurm, of which `make docs` makes profile.yaml.
s|by --gpus\.|by --gres. Made of profiles/slurm by `make docs`.|
s|--profile slurm |--profile slurm-gres |
s|--profile profiles/slurm |--profile profiles/slurm-gres |
s|gpu: 1 # SITE: to ask for a type, add `gpu_model: a100`|gres: "'gpu:1'" # SITE: to ask for a type, 'gpu:a100:1'|
