"""The engine's operations as readable lists of steps: discovery, and adding plugins and source configs.

A workflow calls the rooms below it and decides in which order; how a thing is done is theirs.
"""
