"""What the scripts share: from a configuration to data, networks, training, scores and a report."""
