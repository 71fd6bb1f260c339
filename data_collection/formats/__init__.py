"""Data sets of robomimic, LeRobot and Minari: our episode store written as theirs, and theirs read into a store."""
