#!/usr/bin/env python3
"""Checks the Compose files against the Compose specification, and prints the programs that they start.

    .tools/helm-venv/bin/python docker/compose.check.py

Needs scripts/requirements/helm.txt (`make tools`). Prints, as JSON, the commands and variables of all
containers that have a program of Klinecast, for each set of files that the documents name:
tests/deployments.rs holds them against the programs.
"""

import json
import pathlib
import re
import subprocess
import sys

import yaml

HERE = pathlib.Path(__file__).resolve().parent
CASES = [[], ["live"], ["cluster"], ["stores"], ["live", "stores"]]
IMAGES = {"klinecast", "klinecast-edge"}


def merged(below, above):
    """As Compose does it: maps are merged, commands replaced, other lists joined."""
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            merged(below[key], value)
        elif isinstance(value, list) and key not in ("command", "test") and isinstance(below.get(key), list):
            below[key] = below[key] + value
        else:
            below[key] = value
    return below


def filled(text):
    """A value with its variables as they are by default; one that is required is a secret."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
    return re.sub(r"\$\{\w+:\?[^}]*\}", "secret", text)


def check(case, compose):
    services, volumes = compose["services"], compose.get("volumes", {})
    for name, service in services.items():
        where = f"{case}: {name}"
        if "image" not in service and "build" not in service:
            yield f"{where}: no image"
        for other in service.get("depends_on", {}):
            if other not in services:
                yield f"{where}: depends on {other}, which is not there"
            elif "healthcheck" not in services[other] and services[other].get("image") not in IMAGES:
                yield f"{where}: waits for the health of {other}, which has no check"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./nats-credentials"):
                continue
            if source.startswith("./"):
                if not (HERE / source).exists():
                    yield f"{where}: {source} is not there"
            elif source not in volumes:
                yield f"{where}: the volume {source} is not named"


def programs(case, compose):
    for name, service in compose["services"].items():
        if service.get("image") != "klinecast":
            continue
        program, *args = service["command"]
        variables = {key: filled(str(value)) for key, value in service.get("environment", {}).items()}
        yield {"case": f"{case}: {name}", "program": program, "args": [filled(arg) for arg in args],
               "variables": variables}


def main():
    names = sorted({name for case in CASES for name in case})
    files = [HERE / "compose.yml", *(HERE / f"compose.{name}.yml" for name in names)]
    schema = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    ran = subprocess.run([*schema, *map(str, files)], capture_output=True, text=True)
    failures = [] if ran.returncode == 0 else [ran.stdout + ran.stderr]
    containers = []
    for case in CASES:
        compose = {}
        for file in [HERE / "compose.yml", *(HERE / f"compose.{name}.yml" for name in case)]:
            merged(compose, yaml.safe_load(file.read_text()))
        name = "+".join(["compose", *case])
        failures += check(name, compose)
        containers += programs(name, compose)
    for failure in failures:
        print(failure, file=sys.stderr)
    json.dump(containers, sys.stdout)
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
