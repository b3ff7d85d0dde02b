"""Sets of parameters under a name, one file each; the first line says what for."""
