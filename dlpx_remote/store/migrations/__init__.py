"""Migrations of the state, run by the store when it is opened."""
