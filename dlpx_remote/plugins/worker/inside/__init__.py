"""Code that runs in the fork server and in the workers it makes, never in the engine's own process.

Standard library, the SDK, and the little of this package that both sides share; nothing else, so that the
fork server stays small and a plugin finds nothing of the engine's in its memory.
"""
