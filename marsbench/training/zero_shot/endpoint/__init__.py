"""Generative models behind an OpenAI-compatible endpoint: requests, kept answers, the bill."""
