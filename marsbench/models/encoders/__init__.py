"""Encoders of each library, and classifiers made of an encoder and a linear head."""
