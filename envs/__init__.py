"""Gymnasium environments over robosuite and MuJoCo."""
