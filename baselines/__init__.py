"""The methods SBA is compared with, one file each, and the batched augmentations; depends on torch and `sba`."""
