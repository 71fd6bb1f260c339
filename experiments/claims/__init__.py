"""The suite of claims: which arms are run, what is compared, and the jobs that run them."""
