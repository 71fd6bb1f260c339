"""How often ``smidgen-check`` is wrong without counterfactual pairs, on policies whose truth is known."""
