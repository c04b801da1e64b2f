"""Engine operations as jobs that outlive the process that runs them. Knows nothing of what the jobs do."""
