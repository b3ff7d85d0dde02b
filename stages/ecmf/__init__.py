"""Multimodal emotion recognition from clips of people speaking (ECMF, arXiv 2508.05991)."""
