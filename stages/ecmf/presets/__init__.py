"""Named sets of parameters, one YAML file each; its first line states its purpose."""
