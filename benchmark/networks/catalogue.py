"""The networks that presets may name."""

from benchmark.settings.names import Row

# A network is a function (normalize, classes, images) -> nn.Module: see `build_model`.
NETWORKS = {
    "small": Row("benchmark.networks.small:small_net", "three convolutions for 8x8 digits (ours)"),
    "fast": Row("benchmark.networks.fast:fast_net", "after airbench, arXiv:2404.00498, narrower"),
    "fast_64": Row("benchmark.networks.fast:fast_64_net", "`fast` for 64x64 images: a stem of stride 2 (ours)"),
    "fast_conv": Row("benchmark.networks.fast:fast_conv_net", "`fast` with a learned 3x3 stem (ours)"),
    "preact_resnet18": Row(
        "benchmark.networks.preact_resnet18:preact_resnet18", "He et al., ECCV 2016, arXiv:1603.05027"
    ),
    "resnet50": Row("benchmark.networks.resnet50:resnet50", "He et al., CVPR 2016, arXiv:1512.03385 (torchvision's)"),
}
