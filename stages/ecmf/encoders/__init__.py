"""Whatever turns what is seen, heard or said into vectors; a family per branch."""
