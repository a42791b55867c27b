"""Units in headers."""

import pytest

from graphdb.units import split_header


@pytest.mark.parametrize(
    ("header", "name", "unit"),
    [
        ("band_gap", "band_gap", "eV"),
        ("band_gap_hse", "band_gap_hse", "eV"),
        ("Band Gap", "Band Gap", "eV"),
        ("band_gap [meV]", "band_gap", "meV"),
        ("K (GPa)", "K", "GPa"),
        ("K_VRH(GPa)", "K_VRH", "GPa"),
        ("log10(K) [log10(GPa)]", "log10(K)", "log10(GPa)"),
        ("log10(K) (log10(GPa))", "log10(K)", "log10(GPa)"),
        ("log10(K_VRH)", "log10(K_VRH)", ""),
        ("ln(K) (GPa)", "ln(K)", "GPa"),
        ("log(K)", "log(K)", ""),
        ("sqrt(E)", "sqrt(E)", ""),
        ("1/(K)", "1/(K)", ""),
        ("max(K)", "max(K)", ""),
        ("band gap (HSE)", "band gap (HSE)", "eV"),
        ("band gap (PBE) [eV]", "band gap (PBE)", "eV"),
        ("C(11)", "C(11)", ""),
        ("n (direct)", "n (direct)", ""),
        ("Tc (K)", "Tc", "K"),
        ("gap (ev)", "gap", "ev"),
        ("Ref(eV)", "Ref", "eV"),
        ("kappa (W m^-1 K^-1)", "kappa", "W m^-1 K^-1"),
        ("kappa (W/m/K)", "kappa", "W/m/K"),
        ("rho (g cm-3)", "rho", "g cm-3"),
        ("V (Å³)", "V", "Å³"),
        ("V (Angstrom^3/atom)", "V", "Angstrom^3/atom"),
        ("M (μB/f.u.)", "M", "μB/f.u."),
        ("alpha (10^-6 K^-1)", "alpha", "10^-6 K^-1"),
        ("E (J/(mol K))", "E", "J/(mol K)"),
        ("E (eV per atom)", "E", "eV per atom"),
        ("angle (°)", "angle", "°"),
        ("K, VRH", "K, VRH", ""),
        ("f(x)", "f(x)", ""),
        ("formation_energy_per_atom", "formation_energy_per_atom", "eV/atom"),
        ("log10_band_gap", "log10_band_gap", ""),
        ("band_gap_is_direct", "band_gap_is_direct", ""),
        ("log10_bulk_modulus", "log10_bulk_modulus", "log10(GPa)"),
        ("color", "color", ""),
        ("a_priori", "a_priori", ""),
        ("[eV]", "[eV]", ""),
        ("(eV)", "(eV)", ""),
        ("odd)", "odd)", ""),
        ("rank [1]", "rank", "1"),
    ],
)
def test_a_header_tells_name_and_unit(header: str, name: str, unit: str) -> None:
    assert split_header(header) == (name, unit)
