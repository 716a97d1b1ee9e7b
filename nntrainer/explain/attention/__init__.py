"""Which objects look at which: the weights of attention layers, and what they add up to over the layers."""
