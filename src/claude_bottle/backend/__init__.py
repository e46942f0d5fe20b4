"""Backends: where bottles run, one package each behind one protocol (`interface`)."""

from claude_bottle.backend.interface import Backend, Bottle, BottlePlan, BottleSpec, Guest, Outcome

__all__ = ["Backend", "Bottle", "BottlePlan", "BottleSpec", "Guest", "Outcome"]
