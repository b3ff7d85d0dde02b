"""Ways to read a folder of clips as a corpus."""
