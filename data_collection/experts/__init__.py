"""Scripted experts: small phase machines that see privileged state and act through the policies' own interface."""
