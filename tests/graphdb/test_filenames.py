"""Names of files: the id and the format that they tell."""

import pytest

from graphdb.filenames import file_id, name_format


@pytest.mark.parametrize(
    ("name", "material_id", "format"),
    [
        ("mp-1.cif", "mp-1", "cif"),
        ("a/b/mp-1.CIF.gz", "mp-1", "cif"),
        ("v1.2.cif", "v1.2", "cif"),
        ("mp-1.vasp", "mp-1", "poscar"),
        ("mp-1/POSCAR", "mp-1", "poscar"),
        ("mp-1/CONTCAR.gz", "mp-1", "poscar"),
        ("POSCAR", "POSCAR", "poscar"),
        ("POSCAR.mp-1", "mp-1", "poscar"),
        ("POSCAR_mp-1", "mp-1", "poscar"),
        ("run/POSCAR.vasp", "run", "poscar"),
        ("mp-1.json", "mp-1", "json"),
        ("mp-1.cif.bz2", "mp-1", "cif"),
        ("mp-1.json.xz", "mp-1", "json"),
        ("POSCAR-JVASP-10.vasp", "JVASP-10", "poscar"),
        ("POSCAR-JVASP-10.vasp.gz", "JVASP-10", "poscar"),
        ("POSCAR.x.cif", "x", "cif"),
        ("POSCAR_v1.2", "v1.2", "poscar"),
        ("mp-1.xyz", "mp-1.xyz", None),
        ("POSCAR.zip", "zip", None),
    ],
)
def test_a_file_name_tells_id_and_format(name: str, material_id: str, format: str | None) -> None:
    assert (file_id(name), name_format(name)) == (material_id, format)
