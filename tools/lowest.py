"""Print constraints that pin every direct run-time dependency to its lowest allowed version.

Torch is left at the version given as the argument: older ones than that are not to be had
everywhere, and pulling several would cost gigabytes.
"""

import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement


def lowest(requirement: Requirement) -> str:
    """The version of the requirement's lower bound."""
    bounds = [spec.version for spec in requirement.specifier if spec.operator == ">="]
    if len(bounds) != 1:
        message = f"{requirement} needs exactly one lower bound"
        raise SystemExit(message)
    return bounds[0]


def main() -> None:
    """Write one constraint per direct dependency to standard output."""
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = project["dependencies"] + [
        line
        for extra in ("haystack", "llama-index", "qdrant", "chunks", "edge")
        for line in extras[extra]
    ]
    print(sys.argv[1])
    for requirement in map(Requirement, wanted):
        if requirement.name not in ("torch", project["name"]):
            print(f"{requirement.name}=={lowest(requirement)}")


if __name__ == "__main__":
    main()
