"""Make tests/data/amqp-spec.json: the types of AMQP 1.0 as a table, from the XML of the specification.

The XML comes from the Debian package amqp-specs. Run without arguments to rewrite the table:

    python tools/spec_table.py
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

SPECIFICATION = Path("/usr/share/amqp/specs/1-0")
TABLE = Path(__file__).parent.parent / "tests" / "data" / "amqp-spec.json"
PARTS = ("types", "transport", "messaging", "transactions", "security")
NAMESPACE = "{http://www.amqp.org/schema/amqp.xsd}"


def spec_table(directory: Path = SPECIFICATION) -> dict[str, Any]:
    """Primitive, composite and restricted types by name."""
    table: dict[str, Any] = {"primitive": {}, "composite": {}, "restricted": {}}
    for part in PARTS:
        for element in ET.parse(directory / f"{part}.bare.xml").iter(f"{NAMESPACE}type"):
            kind = element.attrib["class"]
            describe = {"primitive": _primitive, "composite": _composite, "restricted": _restricted}[kind]
            table[kind][element.attrib["name"]] = describe(element)
    return table


def _primitive(element: ET.Element) -> list[dict[str, Any]]:
    return [
        {"code": int(e.attrib["code"], 16), "category": e.attrib["category"], "width": int(e.attrib["width"])}
        for e in element.iter(f"{NAMESPACE}encoding")
    ]


def _composite(element: ET.Element) -> dict[str, Any]:
    return {
        **_described(element),
        "fields": [
            {
                "name": field.attrib["name"],
                "type": field.attrib["type"],
                "requires": field.get("requires"),
                "default": field.get("default"),
                "mandatory": field.get("mandatory") == "true",
                "multiple": field.get("multiple") == "true",
            }
            for field in element.iter(f"{NAMESPACE}field")
        ],
    }


def _restricted(element: ET.Element) -> dict[str, Any]:
    choices = {choice.attrib["name"]: choice.attrib["value"] for choice in element.iter(f"{NAMESPACE}choice")}
    return {**_described(element), "source": element.attrib["source"], "choices": choices}


def _described(element: ET.Element) -> dict[str, Any]:
    facts: dict[str, Any] = {"provides": [name.strip() for name in element.get("provides", "").split(",") if name]}
    descriptor = element.find(f"{NAMESPACE}descriptor")
    if descriptor is not None:
        domain, number = descriptor.attrib["code"].split(":")
        facts["code"] = int(domain, 16) << 32 | int(number, 16)
        facts["descriptor"] = descriptor.attrib["name"]
    return facts


if __name__ == "__main__":
    TABLE.write_text(json.dumps(spec_table(), indent=1) + "\n")
