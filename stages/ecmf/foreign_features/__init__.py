"""One file per layout in which others publish features."""
