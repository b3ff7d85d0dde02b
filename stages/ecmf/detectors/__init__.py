"""Ways to find faces in a picture."""
