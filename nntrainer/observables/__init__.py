"""CP observables of ttH: each a registered class of one formula over the momenta of an event."""
