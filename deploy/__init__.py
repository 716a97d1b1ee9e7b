"""Take a configuration and a site, run nntrainer there, follow it, bring the results back."""
