"""The attacks that presets may name."""

from benchmark.settings.names import Row

ATTACKS = {
    "fgsm": Row("torchattacks:FGSM", "Goodfellow et al., ICLR 2015, arXiv:1412.6572"),
    "pgd": Row("torchattacks:PGD", "Madry et al., ICLR 2018, arXiv:1706.06083"),
    "apgd_ce": Row("torchattacks:APGD", "Croce and Hein, ICML 2020, arXiv:2003.01690, cross-entropy"),
    "apgd_dlr": Row("torchattacks:APGD", "Croce and Hein, ICML 2020, arXiv:2003.01690, scale-free DLR loss"),
    "apgd_t": Row("torchattacks:APGDT", "Croce and Hein, ICML 2020, arXiv:2003.01690, targeted DLR loss, 9 targets"),
    "fab_t": Row("torchattacks:FAB", "Croce and Hein, ICML 2020, arXiv:1907.02044, minimal perturbation, 9 targets"),
    "square": Row("torchattacks:Square", "Andriushchenko et al., ECCV 2020, arXiv:1912.00049, black box"),
}
