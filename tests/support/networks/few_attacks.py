"""Few images, steps and queries for attacks and checks, where a test is about something else."""

_CHECKS = {"images": 5, "repeated": 2, "square_queries": 5, "long_steps": 2}
_CHECKS |= {"reference_steps": 2, "reference_queries": 5}
_LINF = (
    "evaluation.images=8",
    "evaluation.batch_size=8",
    "evaluation.eps=[1.0]",
    'evaluation.attacks=[{name="fgsm", steps=1}, {name="apgd_dlr", steps=1}]',
)
_SETTINGS = (
    *_LINF,
    "evaluation.l2_eps=[0.5]",
    'evaluation.l2_attacks=[{name="apgd_dlr", steps=1}]',
    *(f"evaluation.checks.{name}={value}" for name, value in _CHECKS.items()),
)
FLOAT32 = ("--set", "recipe.precision='float32'")  # many CPUs emulate bfloat16, ten times slower
NO_CHECKS = tuple(part for setting in _LINF for part in ("--set", setting))  # for presets without checks
FEW_ATTACKS = tuple(part for setting in _SETTINGS for part in ("--set", setting))
