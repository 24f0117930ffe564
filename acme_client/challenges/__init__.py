"""Proving control of names to the CA: the challenge kinds, their answers, and their choice."""
