"""What faithful.py holds against each other: a method of the package with a short schedule, and the
statements of its release that it is compared with.
"""

from compared import attackers, frozen_models, surrogates

CASES = {
    case.name: case
    for case in (
        *frozen_models.DIFF_PROTECT,
        *frozen_models.ENCODERS,
        *surrogates.LEARNERS,
        *attackers.TRAINERS,
    )
}
