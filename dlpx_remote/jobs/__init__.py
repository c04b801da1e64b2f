"""Engine operations as jobs that outlive the process that runs them. Knows nothing of what the jobs do.

``base`` is what a workflow sees, ``jobs`` what the engine calls; DBOS, the durable engine below, is known to
``durable`` only and loaded when the first job is to run.
"""
