"""Throw-away hosts for people who have none at hand, and the tour of the commands on them.

The hosts are containers where a Docker engine answers, else an unprivileged ``sshd`` on loopback. Whatever is
made here is removed again, however the demo ends. This room drives the command line through a function that
it is given; it knows neither the engine nor the commands.
"""
