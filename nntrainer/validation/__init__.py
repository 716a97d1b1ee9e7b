"""Are two samples alike: to a classifier, to the trained network, to what the network has learnt from?"""
