"""From a config to a resolved run, without torch."""
