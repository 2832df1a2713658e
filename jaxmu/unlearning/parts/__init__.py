"""What several methods share: gates, selection of weights, random draws, sums of gradients."""
