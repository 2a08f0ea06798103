"""Images in [0, 1] in, logits out.

`catalogue.py` has NETWORKS; `build.py` builds one with its initial weights, which depend on a seed alone, and puts
normalisation first, so that attacks see images in [0, 1]; `checks.py` refuses outputs that are no logits and lists
weights that do not fit. `compiled.py` is a network under torch.compile, `sync_batchnorm.py` BatchNorm over several
processes, `flops.py` counts the FLOPs of training.

To add a network, write a function (normalize, classes, images) -> `nn.Module` in a file of its own and add a row to
NETWORKS. A Sequential with the stages `stem`, `block1`, `block2`, ..., `head` works with all presets: methods name
their layers by these.
"""
