"""From the plan and the arms' records to one verdict per hypothesis and claim: table, plots and page."""
