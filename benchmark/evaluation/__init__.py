"""A trained network in, outcomes of every image out.

`evaluate.py` puts together accuracy, calibration, attacks, corruptions and sanity checks. `attacks.py` runs one
attack under the rules that keep it honest, `joint.py` a suite of them, each on the images that the others left;
`image_draws.py` gives every image its own random numbers; `sanity_checks.py` looks for masked gradients;
`autoattack.py` and `crosscheck.py` attack by other packages; `external_models.py` loads anyone's network;
`journal.py` lets an evaluation resume.

`catalogue.py` has ATTACKS and SANITY_CHECKS. To add an attack, add its row; to add a sanity check, write a function
(case, **limits) -> `Found` and add its row.
"""
