"""The constructor bytes of the primitive types (spec 1.6), and how much one value may ask for."""

from __future__ import annotations

from typing import Final

#: Levels of nesting, a descriptor counting as one: real messages have a few, and a byte a level is all that a
#: bomb needs. Low enough for the deepest value to fit on any stack.
MAX_DEPTH: Final = 32

#: Elements of one compound value: far above any real list, and far below what would hurt.
MAX_ELEMENTS: Final = 65_536

#: Array elements that take no bytes, in one value decoded: without a cap, 10 bytes could ask for 2^32 objects.
MAX_ZERO_WIDTH: Final = 256

#: The largest size that fits into the four bytes there are for it.
MAX_SIZE: Final = 0xFFFF_FFFF

NULL: Final = 0x40
DESCRIBED: Final = 0x00

#: Constructor byte of each type's encodings (spec 1.6).
CODES: Final[dict[str, tuple[int, ...]]] = {
    "null": (0x40,),
    "boolean": (0x41, 0x42, 0x56),
    "ubyte": (0x50,),
    "ushort": (0x60,),
    "uint": (0x43, 0x52, 0x70),
    "ulong": (0x44, 0x53, 0x80),
    "byte": (0x51,),
    "short": (0x61,),
    "int": (0x54, 0x71),
    "long": (0x55, 0x81),
    "float": (0x72,),
    "double": (0x82,),
    "decimal32": (0x74,),
    "decimal64": (0x84,),
    "decimal128": (0x94,),
    "char": (0x73,),
    "timestamp": (0x83,),
    "uuid": (0x98,),
    "binary": (0xA0, 0xB0),
    "string": (0xA1, 0xB1),
    "symbol": (0xA3, 0xB3),
    "list": (0x45, 0xC0, 0xD0),
    "map": (0xC1, 0xD1),
    "array": (0xE0, 0xF0),
}
