"""Units of properties, from the header of a column (``name [unit]``) or from well-known names."""

import re

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
_WITH_UNIT = re.compile(r"^(?P<name>.*?)\s*[\[(](?P<unit>[^\[\]()]*(?:\([^()]*\))?[^\[\]()]*)[\])]$")


def split_header(header: str) -> tuple[str, str]:
    """Name and unit of a column.

    ``band_gap [eV]`` and ``band_gap (eV)`` name their unit; without one, well-known names have theirs, also with a
    suffix for the method (``band_gap_hse``). An unknown unit is an empty string.
    """
    header = " ".join(header.split())
    match = _WITH_UNIT.match(header)
    if match and match["name"]:
        return match["name"], match["unit"].strip()
    return header, unit_of(header)


def unit_of(name: str) -> str:
    """The unit of a well-known property; empty if it is not known."""
    key = re.sub(r"[\s-]+", "_", name.strip().lower())
    while key:
        if key in KNOWN_UNITS:
            return KNOWN_UNITS[key]
        key = key.rpartition("_")[0]
        if len(key) < 2:  # 'a_priori' is no lattice parameter
            break
    return ""
