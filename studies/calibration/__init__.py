"""How often the verdict on a policy is wrong, measured on policies whose true slope is known."""
