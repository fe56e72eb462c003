"""Adapting a model: what it may be trained on, parameter-efficient tuning, and whether it helped."""
