"""Units of properties, from the header of a column (``name [unit]``) or from well-known names."""

import re
from functools import lru_cache

#: Names as the Materials Project, JARVIS, matbench and the MT-CGCNN paper use them.
KNOWN_UNITS: dict[str, str] = {
    "formation_energy_per_atom": "eV/atom",
    "formation_energy": "eV/atom",
    "e_form": "eV/atom",
    "energy_per_atom": "eV/atom",
    "energy_above_hull": "eV/atom",
    "e_above_hull": "eV/atom",
    "heat_of_formation": "eV",
    "energy": "eV",
    "band_gap": "eV",
    "fermi_energy": "eV",
    "efermi": "eV",
    "work_function": "eV",
    "bulk_modulus": "GPa",
    "shear_modulus": "GPa",
    "bulk_modulus_vrh": "GPa",
    "shear_modulus_vrh": "GPa",
    "youngs_modulus": "GPa",
    "log10_bulk_modulus": "log10(GPa)",
    "log10_shear_modulus": "log10(GPa)",
    "poisson_ratio": "1",
    "refractive_index": "1",
    "dielectric_electronic": "1",
    "dielectric_total": "1",
    "total_magnetization": "µB",
    "magnetic_moment": "µB",
    "density": "g/cm^3",
    "volume": "Å^3",
    "debye_temperature": "K",
    "thermal_conductivity": "W/m/K",
    "a": "Å",
    "b": "Å",
    "c": "Å",
}
#: What stands before parentheses that hold an argument, not a unit.
_FUNCTION = re.compile(
    r"(?:^|[^a-z])(?:log_?(?:2|10|₂|₁₀)?|ln|exp|sqrt|cbrt|abs|inv|min|max|mean|avg|median|std|var|sum|delta)$|1/$"
)
#: Names that hold one of these words mean another quantity than the name without it.
_OTHER_QUANTITY = re.compile(r"(?:^|[^a-z])(?:log(?:2|10)?|ln|exp|sqrt|cbrt|abs|inv|is|class|type)(?:[^a-z]|$)|1/")
_PREFIX = r"(?:[YZEPTGMkhdcmnpf]|da|[uµμ])"
_PREFIXED = r"(?:eV|J|Pa|m|s|g|Hz|W|V|A|K|T|N|F|H|C|S|cal|mol|bar|Ω|Ohm|ohm|L|l)"
_PLAIN = (
    r"(?:Å|Ang|Angstroms?|angstroms?|bohr|Bohr|a0|Ha|hartree|Hartree|Ry|rydberg|Rydberg|atm|amu|u|Da|"
    r"[µμu]_?B|mu_?B|Bohr magnetons?|atoms?|f\.u\.|fu|cell|formula unit|unit cell|site|electrons?|e-?|"
    r"rad|degrees?|deg|°C?|%|ppm|a\.u\.|arb\. ?units?|dimensionless|unitless|kbar|min|day|year)"
)
_LENIENT = re.compile(r"(?:ev|mev|gpa|mpa|ev/atom|mev/atom)", re.IGNORECASE)
_EXPONENT = r"(?:(?:\^|\*\*)?\(?[-−+]?\d+\)?|[⁻⁺]?[⁰¹²³⁴-⁹]+)?"
_FACTOR = rf"(?:(?:10{_EXPONENT}|{_PLAIN}|{_PREFIX}?{_PREFIXED}){_EXPONENT}|1(?=/))"
_UNIT = re.compile(rf"{_FACTOR}(?:(?:\s*[/*·⋅.×]\s*|\s+per\s+|\s+)\(?{_FACTOR}\)?)*")


@lru_cache(maxsize=4096)  # it is asked for each cell of a table
def split_header(header: str) -> tuple[str, str]:
    """Name and unit of a column.

    Brackets at the end always hold the unit (``band_gap [eV]``); parentheses do if what they hold looks like one:
    ``K (GPa)`` has it, ``log10(K_VRH)`` and ``band gap (HSE)`` do not. Without, well-known names have theirs, also with
    a suffix for the method (``band_gap_hse``). An unknown unit is an empty string.
    """
    header = " ".join(header.split())
    name, unit = _last_group(header)
    if name.strip() and (header.endswith("]") or (looks_like_unit(unit) and not _FUNCTION.search(name.lower()))):
        return name.strip(), unit.strip()
    return header, unit_of(header)


def _last_group(header: str) -> tuple[str, str]:
    """What stands before and within the brackets or parentheses with which a header ends; the header without such."""
    if not header.endswith((")", "]")):
        return header, ""
    closing = header[-1]
    opening = {")": "(", "]": "["}[closing]
    depth = 0
    for place in range(len(header) - 1, -1, -1):
        depth += (header[place] == closing) - (header[place] == opening)
        if depth == 0:
            return header[:place], header[place + 1 : -1]
    return header, ""


def looks_like_unit(text: str) -> bool:
    """Whether a text is made of symbols of units, their powers, products and quotients, or a function of such."""
    text = text.strip()
    within = re.fullmatch(r"(?:log10|log|ln)(?:\s+|\s*(?=\())\(?(.*?)\)?", text)
    if within and within[1]:
        text = within[1].strip()
    return bool(_UNIT.fullmatch(text) or _LENIENT.fullmatch(text))


def unit_of(name: str) -> str:
    """The unit of a well-known property; empty if it is not known."""
    key = re.sub(r"[\s-]+", "_", name.strip().lower())
    if key not in KNOWN_UNITS and _OTHER_QUANTITY.search(key):
        return ""
    while key:
        if key in KNOWN_UNITS:
            return KNOWN_UNITS[key]
        key = key.rpartition("_")[0]
        if len(key) < 2:  # 'a_priori' is no lattice parameter
            break
    return ""
