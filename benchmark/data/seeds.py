"""Random streams: one generator for each purpose, seeded by (data set, seed, purpose) alone."""

import hashlib

import torch


def stream_seed(dataset: str, seed: int, purpose: str) -> int:
    """Return the 63-bit seed of a stream: SHA-256 of "dataset/seed/purpose".

    The arm is not part of it, so that all arms of a seed start from the same weights and see the same images in
    the same order under the same crops; a draw added for one purpose shifts no other.
    """
    digest = hashlib.sha256(f"{dataset}/{seed}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def stream(dataset: str, seed: int, purpose: str) -> torch.Generator:
    """Return a CPU generator for one purpose such as "order"."""
    return torch.Generator().manual_seed(stream_seed(dataset, seed, purpose))


def image_seed(seed: int, index: int) -> int:
    """Return the 63-bit seed of one image's draws in an epoch: SHA-256 of "seed/index".

    Thus the draws of an image depend neither on its place in the epoch's order nor on the worker that decodes it.

    Args:
        seed: of the epoch.
        index: of the image in its split.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}/{index}".encode()).digest()[:8], "big") >> 1
