"""Stochastic Batch Augmentation (arXiv:2006.15284) for any PyTorch training loop; depends on torch alone."""

from sba.method import SBA, Step

__all__ = ["SBA", "Step"]
