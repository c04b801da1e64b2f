"""A plugin on disk (config, schema, generated classes, checks) and the process its code runs in."""
