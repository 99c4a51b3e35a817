"""IEEE 754-2008 decimals in the binary-integer (BID) form, 4, 8 or 16 bytes wide (spec 1.6.13 to 1.6.15)."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

__all__ = ["from_bid", "to_bid"]

#: Width in bytes to: digits of the coefficient, bits of the exponent field, bias of the exponent.
_FORMATS: Final[dict[int, tuple[int, int, int]]] = {4: (7, 8, 101), 8: (16, 10, 398), 16: (34, 14, 6176)}

_INFINITY: Final = 0b11110
_NAN: Final = 0b11111


def to_bid(value: Decimal, width: int) -> bytes:
    """The bytes of `value`, big-endian.

    NaN keeps its sign, but neither payload nor signalling.

    Raises:
        ValueError: the value has too many digits or too large an exponent to be exact in this width.
    """
    precision, exponent_bits, bias = _FORMATS[width]
    bits = 8 * width
    coefficient_bits = bits - 1 - exponent_bits
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        special = _INFINITY if exponent == "F" else _NAN
        return (sign << (bits - 1) | special << (bits - 6)).to_bytes(width, "big")

    lowest = -bias
    highest = (3 << (exponent_bits - 2)) - 1 - bias
    scale = exponent
    kept = list(digits)
    while (len(kept) > precision or scale < lowest) and len(kept) > 1 and kept[-1] == 0:
        kept.pop()
        scale += 1
    if kept == [0]:
        scale = min(max(scale, lowest), highest)
    elif scale > highest and len(kept) + scale - highest <= precision:
        kept += [0] * (scale - highest)
        scale = highest
    if len(kept) > precision or not lowest <= scale <= highest:
        raise ValueError(f"a decimal{bits} cannot hold this number exactly: {precision} digits at most")

    coefficient = int("".join(map(str, kept)))
    biased = scale + bias
    if coefficient >> coefficient_bits:
        # The coefficient starts with 100 in binary; the format leaves these bits out and marks that with 11.
        low = coefficient & ((1 << (coefficient_bits - 2)) - 1)
        number = 0b11 << (bits - 3) | biased << (coefficient_bits - 2) | low
    else:
        number = biased << coefficient_bits | coefficient
    return (sign << (bits - 1) | number).to_bytes(width, "big")


def from_bid(data: bytes) -> Decimal:
    """The number in `data`: 4, 8 or 16 bytes, big-endian. Every bit pattern is a number, infinity or NaN."""
    precision, exponent_bits, bias = _FORMATS[len(data)]
    bits = 8 * len(data)
    coefficient_bits = bits - 1 - exponent_bits
    number = int.from_bytes(data, "big")
    sign = "-" if number >> (bits - 1) else ""
    special = (number >> (bits - 6)) & 0b11111
    if special == _INFINITY:
        return Decimal(sign + "Infinity")
    if special == _NAN:
        # A signalling NaN would raise wherever Python compares or hashes it, so it comes out quiet.
        return Decimal(sign + "NaN")
    if special >> 3 == 0b11:
        coefficient_bits -= 2
        coefficient = 0b100 << coefficient_bits
    else:
        coefficient = 0
    coefficient |= number & ((1 << coefficient_bits) - 1)
    if coefficient >= 10**precision:
        coefficient = 0  # IEEE 754-2008 3.5.2: a coefficient out of range stands for zero
    exponent = ((number >> coefficient_bits) & ((1 << exponent_bits) - 1)) - bias
    return Decimal(f"{sign}{coefficient}E{exponent}")
