"""The fixed tables as they were published, for singular values that a Frobenius norm has brought to one."""

from studies.common.peers import SAFETY, TABLES

PUBLISHED = {
    "polar_express": TABLES["Polar Express"][0],
    "jordan": TABLES["Jordan"][0],
    "you": TABLES["You"][0],
}

__all__ = ["PUBLISHED", "SAFETY"]
