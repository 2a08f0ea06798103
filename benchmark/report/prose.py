"""The sentences of RESULTS.md that are the same for every study, or filled in from one."""

from collections.abc import Sequence

from benchmark.analysis.study import Study

ASKED = """\
Stochastic Batch Augmentation (SBA; Li et al., IJCAI 2020, arXiv:2006.15284) decides at random, at every
training iteration, whether to add virtual samples near the real ones in a hidden layer, and pulls their
predictions towards the network's own on the real ones. Its abstract claims better generalization, faster
convergence, help against adversarial attacks, and less cost than augmenting every batch. The studies below
ask how much of this shows, on networks that differ in nothing but the method. What is tested is *SBA as
read from its abstracts*: the method section was not available and no code was published, so each reading is
a named setting."""

NOTHING_RUN = """\
## No study has been run

There are no records yet. `python -m benchmark list presets` names the studies, `python -m benchmark run
PRESET` runs one, and `python -m benchmark report` then writes this file."""

HOW_TO_READ = """\
How to read the numbers:

- Accuracies and differences are in percentage points. A *seed* is one training run of each arm; the runs of
  one seed share initial weights, data order and random crops, so arms are compared seed by seed. Where two
  arms differ in method and augmentation (a study's list of arms says so), their difference is that of both.
- *mean* and *sd* are over seeds. The *95% interval* and *p* are the paired t test's. Verdicts rest on *Holm
  p*, which allows for the number of comparisons made on one endpoint; the endpoints are not corrected for
  each other.
- *exact p* (all sign flips of the differences) needs no normal distribution, but with few seeds it cannot go
  below its floor. *Welch p* ignores the pairing. From ten seeds on a *bootstrap interval* also resamples the images
  within each seed, as if every seed had its own. These show whether a verdict hangs on the choice of test.
- *detectable* (MDE) is the smallest true difference that such a study finds in 80% of cases, at the seen
  spread and the strictest level of Holm. A study that resolves nothing says only that the difference is
  probably smaller.
- *equivalent* means: two one-sided tests, with Holm as well, place the difference inside the margin named
  beforehand.
- Endpoints (the primary one first), comparisons, eps, margin and seeds were named before the runs and are part of
  every record."""

CLAIMS_NOTE = """\
How a claim is judged stands in `benchmark/analysis/claims.toml`. *supported*: better than every arm that the claim
speaks of, after Holm's correction. *contradicted*: worse than one of them. *equivalent*: within the margin of some
and better than the others. *not resolved*: these seeds cannot tell, or runs are still to come; it never means that
there is no difference. *not tested*: the study lacks an arm, an endpoint or the seeds that the claim needs."""

SYNTHETIC = """\
**Synthetic data: these images were generated to exercise the program. No number of this study says anything
about any method or data set.**"""

ATTACK_NOTE = """\
The attacks run in this order, each on the images that all earlier ones left standing; the columns show what
remains, in %, mean over seeds, with the number of steps in brackets. *zero gradients* is the share of
images whose gradient is exactly zero, and the *median margin* is that of the logits: where arms differ much
in these, gradient attacks may look stronger or weaker than they are."""

L2_NOTE = """\
Under attacks in L2, eps in pixel values of [0, 1]; otherwise as above. Descriptive only."""

CHECKS_NOTE = """\
Checks of the evaluation itself, on the first images of the attacked set, at the largest Linf eps at which a
tenth of them stands (each run's own). *runs checked* are those of the seeds that the preset names for it, by default
all; a flag in any run counts for its arm. Accuracies in %, means over the runs checked: *all at 64/255* under the
whole suite there, where no network can hold; then under uniform noise (ten draws), FGSM and PGD, each to be no
stronger than the next; PGD with the logits multiplied by 0.1 and 10, where a much lower value would show that the loss
was saturated; images made for a *surrogate* network of another seed (transfer), which must be weaker than the *suite*.
Then images that more attacks fool of those tested, though the suite left them standing: Square, which sees no gradient;
the suite with more steps; and the reference implementation of AutoAttack. The limits for a
flag are in `benchmark/evaluation/sanity_checks.py`."""

CROSSCHECK_NOTE = """\
`nox -s crosscheck`: the same attacks by other packages on the same trained networks, image by image, at the same
settings and draws (pyautoattack is the reference AutoAttack; each network at the largest eps where a tenth of its
images stand). In L2, APGD-T and Square are the reference's own here, so there is nothing to compare."""

CORRUPTION_NOTE = """\
Without an adversary: accuracy under each of ten draws of uniform noise, and under eight kinds of CIFAR-10-C's
corruptions (Hendrycks and Dietterich, ICLR 2019; their parameters, our draws), each the mean over its five
severities, on the attacked images, in %, in the runs that were checked. Descriptive only."""

CALIBRATION_NOTE = """\
Calibration on all evaluated images after the last epoch: *ECE* is the expected calibration error over 15 bins of
equal width (Guo et al., ICML 2017; the plug-in estimator, biased upwards), *NLL* the negative log-likelihood.
Soft labels change confidence, so both may differ where accuracy does not. Descriptive only."""

CONVERGENCE_NOTE = """\
Strong lines are means over seeds, faint ones the single seeds, a cross on the axis is a run that diverged. *area* is
that under the learning curve: the mean accuracy over the training, in points, from guessing at the start, linear
between epochs. Beside it the training images (in thousands) and seconds until a run first reached an accuracy named
beforehand, mean over the seeds; in brackets how many did, where not all: then there is neither mean nor test. The area
also rises with the final accuracy. The learning rate falls over the whole training, so these figures speak of this
schedule. Seconds may come from a machine that was shared; images do not depend on it."""

SAME_ARM_NOTE = """\
An A/A study on these real runs: the first half of each arm's seeds against the second half, by the same tests that
decide above. Nothing differs but the seeds, so a significant difference would be a false alarm; up to one study in ten
has one by chance (5% for each endpoint)."""

COMPUTE_NOTE = """\
Left, every arm trained for the same epochs; right, every arm trained until it had spent the FLOPs of plain training, so
that an arm which costs more sees fewer images, under a learning rate that falls to its end over that budget. FLOPs are
relative to the reference arm of equal epochs. The tests of the right half stand in its own section."""

CHOSEN = """
  Settings of SBA that an exploratory study chose on validation images may favour SBA: the other arms keep
  their published defaults."""

DATA_NOTES = {
    "cifar10_jpeg": "CIFAR-10 re-saved as JPEG: lossy, not the official CIFAR-10, and its accuracies are not "
    "comparable with published ones; differences between arms are.",
    "digits": "scikit-learn's digits: real handwriting of 8 x 8 pixels, small and easy; good for "
    "showing that the path works, and for little else.",
    "tiny_imagenet_100": "The first 100 of Tiny ImageNet's 200 classes; not comparable with the whole.",
}


def generated(folder: str) -> str:
    """Return the note on where the file comes from."""
    return f"Generated by `python -m benchmark report` from the records in `{folder}/`. Do not edit."


def heading(study: Study) -> str:
    """Return a study's title with its preset."""
    return f"{study.analysis['title']} (`{study.preset}`)"


def synthetic(study: Study) -> list[str]:
    """Return the warning above a study of made-up images, or nothing."""
    return [SYNTHETIC] if study.any_record["data"]["synthetic"] else []


def data_note(study: Study) -> list[str]:
    """Return what the records say of their data beside its name, or nothing."""
    note = study.any_record["data"].get("note")
    return [note] if note else []


def seeds_note(study: Study) -> str:
    """Say what the table of every seed's accuracy shows."""
    primary = ": the primary endpoint" if study.endpoints[0] == "clean" else ""
    return f"""\
Share of all evaluated images that are right after the last epoch, in %{primary}. *best epoch* is
the mean of every run's best epoch, chosen on these same images: it flatters every arm and is used nowhere."""


def differences_note(study: Study) -> str:
    """Say how to read the figure of differences."""
    return f"""\
Dots are means over seeds, lines their 95% intervals, small marks the single seeds; the band is the margin of
equivalence, {study.analysis["margin"]:g} points. Grey: the interval includes 0. A dot is filled where the
verdict is higher or lower. A triangle: it goes on beyond the frame; an arrow with a number is a mean beyond it."""


def robustness_note(study: Study) -> str:
    """Say what the robustness tables show, and under what condition."""
    images = study.any_record["settings"]["evaluation"]["images"]
    return f"""\
Share of {images:,} {study.split} images that are right without attack and under every attack, in %,
mean over seeds, for each eps (in 1/255); one image is {100 / images:.2g} points. All values are *under
these attacks*: a stronger one can only lower them. *area* is the mean of the curve over eps from 0 to
{study.eps[-1]:g}/255 (trapezoid rule in eps, divided by the largest eps). *median minimal eps* is where half of
the images that are right without attack have fallen. Where all arms are near 0, an eps cannot tell them
apart."""


def cost_note(reference: str) -> str:
    """Say what the cost table shows."""
    return f"""\
Training alone, mean over finished runs, in brackets relative to `{reference}`. FLOPs count forward and
backward passes, a multiply-add as two; gradient samples are rows that were backpropagated, virtual ones
included. Seconds may come from a machine that was shared: FLOPs and gradient samples do not depend on it. In the figure
large marks are means and small ones single runs; a positive control is left out."""


def pointer(study: Study) -> str:
    """Say, among the verdicts, that an exploratory study has none."""
    return f"No verdict is drawn from the exploratory study {heading(study)}; its section below says what it shows."


def reproduce(studies: Sequence[Study]) -> str:
    """Return the commands that repeat every study, and what to expect of them."""
    commands = "\n".join(f"    python -m {command(study)}" for study in studies)
    return f"""\
At the commit below, with the versions below (`constraints.txt` pins them):

{commands}
    python -m benchmark report

Runs whose record exists are not repeated; `--force` repeats them. Another device or version gives other
bits and close numbers."""


def command(study: Study) -> str:
    """Return what python runs for a study: as many processes as it had, its preset, ablation or compute mode."""
    processes = study.any_record["environment"].get("processes")
    together = f"torch.distributed.run --standalone --nproc-per-node {processes} -m " if processes else ""
    return f"{together}benchmark run {preset_of(study)}"


def preset_of(study: Study) -> str:
    """Return the preset of a study, and the option that made its name another."""
    for option in ("ablation", "compute"):
        name = study.preset.removesuffix(f"_{option}")
        if name != study.preset and (study.exploratory or study.any_record["settings"].get("compute")):
            return f"{name} --{option}"
    return study.preset


def limits(studies: Sequence[Study]) -> str:
    """Return what the numbers cannot carry; some lines depend on the studies."""
    testing = [study for study in studies if not study.exploratory] or studies
    fewest = min(len(study.seeds) for study in testing)
    names = sorted({study.any_record["data"]["name"] for study in studies})
    notes = "".join(f"\n- `{name}`: {DATA_NOTES[name]}" for name in names if name in DATA_NOTES)
    extra = (CHOSEN if any(study.exploratory for study in studies) else "") + normalisation(studies)
    return f"""\
- This is *SBA as read from its abstracts*. Nothing here is comparable with a number of the paper, and a
  poor result may be a poor reading.
- Few seeds ({fewest} in the smallest study): only differences above the detectable one can be seen, and
  whether the differences are normal, which the t test assumes, cannot be checked.
- Seeds vary, data does not: intervals speak about training again on the same images, not about other
  images.
- Robust accuracy is an upper bound, under these attacks. Networks that were not trained against attacks
  fall to 0 at usual eps; the small ones used here tell arms apart and say nothing about safety.
- No arm is tuned within a study: each has the settings listed there, and could do better with others.
  Recipes were chosen with the `standard` arm alone, which may favour it: learning rate, weight decay and crops
  by its accuracy on held-out training images, the number of epochs by the time and accuracy it was to reach.{extra}
- Timings were taken on a machine that may have been shared.{notes}"""


def normalisation(studies: Sequence[Study]) -> str:
    """Say which studies took normalisation from the first images of each data set, as records before numerics 2."""
    old = [study for study in studies if study.any_record["settings"].get("numerics", 1) < 2]
    if not old:
        return ""
    names = ", ".join(f"`{study.preset}`" for study in old)
    which = "" if len(old) == len(studies) else f" (Of {names} alone.)"
    return f"""
- Normalisation and whitening come from the first 5,000 training images in the data set's order, which in an
  image folder is by class; they are the same for every arm and seed.{which}"""
