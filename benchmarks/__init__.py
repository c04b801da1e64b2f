"""Side-by-side measurements of the engine and its peers: ``python -m benchmarks NAME``.

A benchmark runs us and the peers in one go, in turn, and prints measure, ours, peers, ratio, target and
whether the target is met. It is no test: it needs a quiet machine, and no test asserts a time. This package
may use everything of ``dlpx_remote``; nothing in ``dlpx_remote`` may use it.
"""
