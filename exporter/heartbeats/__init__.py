"""Heartbeats: what agents inside guests say of themselves."""
