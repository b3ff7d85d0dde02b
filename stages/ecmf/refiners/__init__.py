"""Ways to turn many opinions on a clip's label into one."""
