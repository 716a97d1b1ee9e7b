"""Layer-wise relevance propagation: the output of a network handed back, layer by layer, to its inputs.

Every layer is replaced by one of the same value that is linear in what it is given, with what a rule takes as constant
held fixed: a homogeneous function of the inputs and of the number one, by which every bias is multiplied. The gradient
of the whole, times the inputs, is the relevance, and Euler's theorem makes it add up to the output (the modified
gradients of G. Montavon et al., Layer-wise relevance propagation: an overview, doi 10.1007/978-3-030-28954-6_10).
"""
