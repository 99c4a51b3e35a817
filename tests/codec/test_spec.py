"""Every declaration agrees with the specification: tests/data/amqp-spec.json, made by tools/spec_table.py."""

from __future__ import annotations

import json
import runpy
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from uamqp.codec import choices, composite, definitions, message, performatives, sections, wire
from uamqp.codec.constructors import CODES
from uamqp.codec.primitives import skip
from uamqp.exceptions import DecodeError

ROOT = Path(__file__).parent.parent.parent
SPEC: dict[str, Any] = json.loads((ROOT / "tests" / "data" / "amqp-spec.json").read_text())
XML = Path("/usr/share/amqp/specs/1-0")


@pytest.mark.skipif(not XML.exists(), reason="the Debian package amqp-specs is not installed")
def test_the_table_is_what_the_xml_says() -> None:
    spec_table = runpy.run_path(str(ROOT / "tools" / "spec_table.py"))["spec_table"]
    assert spec_table(XML) == SPEC


# --- primitive types ----------------------------------------------------------------------------------------------


def test_constructors_of_primitive_types() -> None:
    expected = {name: sorted(e["code"] for e in encodings) for name, encodings in SPEC["primitive"].items()}
    assert {name: sorted(codes) for name, codes in CODES.items()} == expected


@pytest.mark.parametrize("name", SPEC["primitive"])
def test_widths(name: str) -> None:
    for encoding in SPEC["primitive"][name]:
        width = encoding["width"]
        body = bytes(width) if encoding["category"] == "fixed" else (3).to_bytes(width, "big") + b"abc"
        data = bytes((encoding["code"],)) + body
        assert skip(data, 0, len(data)) == len(data)
        if body:
            with pytest.raises(DecodeError):
                skip(data, 0, len(data) - 1)


# --- composite types ----------------------------------------------------------------------------------------------


def test_all_composites_are_there_and_no_others() -> None:
    declared = {cls.TYPE: (cls.CODE, str(cls.NAME)) for cls in composite.by_code.values()}
    assert declared == {name: (c["code"], c["descriptor"]) for name, c in SPEC["composite"].items()}
    assert {str(cls.NAME): cls for cls in composite.by_code.values()} == composite.by_name
    for name, cls in composite.by_name.items():
        class_name = "".join(part.capitalize() for part in cls.TYPE.split("-"))
        modules = (definitions, performatives, message)
        assert any(getattr(module, class_name, None) is cls for module in modules), name


@pytest.mark.parametrize("name", SPEC["composite"])
def test_fields_of_composites(name: str) -> None:
    spec = SPEC["composite"][name]
    cls = composite.by_code[spec["code"]]
    assert list(cls.PROVIDES) == spec["provides"]
    assert [field.name for field in cls.FIELDS] == [f["name"].replace("-", "_") for f in spec["fields"]]
    for field, facts in zip(cls.FIELDS, spec["fields"], strict=True):
        where = f"{name}.{field.name}"
        assert field.type.name == facts["type"], where
        assert field.type.requires == facts["requires"], where
        assert field.mandatory == facts["mandatory"], where
        assert field.multiple == facts["multiple"], where
        expected = () if field.multiple else default(field.type, facts["default"])
        assert field.default == expected, where
        assert type(field.default) is type(expected), where


def default(wire_type: wire.WireType, text: str | None) -> Any:
    if text is None:
        return None
    if wire_type.choices:
        return wire_type.choices[text]
    return text == "true" if wire_type.source == "boolean" else int(text)


# --- restricted types ---------------------------------------------------------------------------------------------

#: Restricted types with a list of choices that anybody may extend, so that only their names are declared.
OPEN_LISTS: dict[str, type[Enum]] = {
    "amqp-error": choices.AmqpError,
    "connection-error": choices.ConnectionErrorCondition,
    "session-error": choices.SessionError,
    "link-error": choices.LinkError,
    "transaction-error": choices.TransactionError,
    "std-dist-mode": choices.DistributionMode,
    "txn-capability": choices.TransactionCapability,
}

SECTIONS = {
    "delivery-annotations": sections.DELIVERY_ANNOTATIONS,
    "message-annotations": sections.MESSAGE_ANNOTATIONS,
    "application-properties": sections.APPLICATION_PROPERTIES,
    "data": sections.DATA,
    "amqp-sequence": sections.SEQUENCE,
    "amqp-value": sections.VALUE,
    "footer": sections.FOOTER,
}

#: Types that stand for what a field of type * may hold.
ALTERNATIVES = {
    "message-id": wire.MESSAGE_ID,
    "address": wire.ADDRESS,
    "txn-id": wire.TXN_ID,
}


def root(name: str) -> str:
    """The primitive type that a restricted type comes from."""
    while name in SPEC["restricted"]:
        name = SPEC["restricted"][name]["source"]
    return name


def choice(name: str, text: str) -> Any:
    match root(name):
        case "boolean":
            return text == "true"
        case "symbol":
            return text
        case _:
            return int(text)


@pytest.mark.parametrize("name", SPEC["restricted"])
def test_restricted_types(name: str) -> None:
    spec = SPEC["restricted"][name]
    expected = {label: choice(name, text) for label, text in spec["choices"].items()}
    if name in wire.RESTRICTED:
        wire_type = wire.RESTRICTED[name]
        assert wire_type.source == root(name)
        assert wire_type.codes == set(CODES[root(name)])
        assert wire_type.choices == expected
        assert spec["provides"] == []
    elif name in OPEN_LISTS:
        assert {m.name.lower().replace("_", "-"): m.value for m in OPEN_LISTS[name]} == expected
    elif name in SECTIONS:
        code = SECTIONS[name]
        assert code == spec["code"]
        # The symbolic descriptor of each is used in tests/codec/test_sections.py.
        if code in sections.MAP_SECTIONS:
            assert sections.MAP_SECTIONS[code].name == name
            assert root(name) == "map"
    elif name == "annotations":
        assert root(name) == "map"
    else:
        (archetype,) = spec["provides"]
        assert root(name) in ALTERNATIVES[archetype].sources


def test_alternatives_are_those_that_provide_the_archetype() -> None:
    for archetype, wire_type in ALTERNATIVES.items():
        providers = {root(name) for name, spec in SPEC["restricted"].items() if archetype in spec["provides"]}
        assert set(wire_type.sources) == providers
