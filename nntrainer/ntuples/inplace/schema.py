"""What StreamerInfo says of a class: its bases and members, and how many bytes a member takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

# Bytes of the basic types by their number in StreamerInfo; 9 and 19 are Double32_t and Float16_t.
BASIC = {1: 1, 2: 2, 3: 4, 4: 8, 5: 4, 6: 4, 8: 8, 10: 1, 11: 1, 12: 2, 13: 4, 14: 8, 16: 8, 17: 8, 18: 1}
DOUBLE32, FLOAT16, BITS, TEXT = 9, 19, 15, 7
IN_PLACE = {61, 62, 65, 66, 67, 63, 68}  # objects, or pointers that are never null: streamed without a class word
POINTER = {64, 69}
CUSTOM = {300, 365, 500, 501}  # collections and streamers of their own: a byte count tells where they end
ARRAYS = {"C": 1, "S": 2, "I": 4, "L": 8, "L64": 8, "F": 4, "D": 8}
# Collections of these hold no references.
PLAIN = re.compile(
    r"(const|std::|vector|list|deque|set|multiset|map|multimap|pair|bitset|string|TString|bool|char|short|int|long|"
    r"float|double|unsigned|signed|(Bool|U?Char|U?Short|U?Int|U?Long|U?Long64|Float|Double|Double32|Float16)_t|"
    r"u?int(8|16|32|64)_t|size_t|[<>,\s\d])+"
)


@dataclass(frozen=True)
class Element:
    """A member or base of a class, from StreamerInfo."""

    name: str
    title: str
    type: int
    typename: str
    length: int
    base: bool = False
    counter: str = ""


@dataclass(frozen=True)
class Info:
    """A version of a class: checksum and members."""

    name: str
    version: int
    checksum: int
    elements: tuple[Element, ...]


Infos = Mapping[tuple[str, int], Info]


def closed(kind: str) -> str:
    """Return the name of a class without the blanks between closing brackets, which not every writer puts there."""
    return kind.replace(" >", ">")


def stored_size(element: Element, kind: int) -> int:
    """Return the stored bytes of a basic type.

    Those of Double32_t and Float16_t hang on the comment ``[low,high,bits]``: with a range they are a whole number,
    else a float cut short.
    """
    if kind in BASIC:
        return BASIC[kind]
    found = next((group for group in re.findall(r"\[([^\]]*)\]", element.title) if "," in group), None)
    if found is None:
        return 4 if kind == DOUBLE32 else 3
    low, high = (part.strip() for part in found.split(",")[:2])
    try:
        return 3 if float(low) == float(high) else 4
    except ValueError:  # such as pi
        return 3 if low == high else 4
