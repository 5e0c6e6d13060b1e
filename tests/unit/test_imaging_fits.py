"""Are images of any make read, and what is no image refused in a sentence?"""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from skyrelay.errors import Permanent
from skyrelay.imaging.fits import read_image, write_image
from skyrelay.imaging.fits_structure import is_complete
from skyrelay.imaging.repair import repaired
from skyrelay.imaging.wcs import wcs_of

PIXELS = np.arange(40 * 50, dtype=np.float32).reshape(40, 50)


def write(path: Path, *hdus: fits.hdu.base._BaseHDU) -> Path:
    fits.HDUList([*hdus]).writeto(path)
    return path


def test_plain_image_is_read_as_it_is(tmp_path: Path) -> None:
    image = read_image(write(tmp_path / "a.fits", fits.PrimaryHDU(PIXELS)))
    assert image.data.dtype == np.float32 and image.data.dtype.isnative
    np.testing.assert_array_equal(image.data, PIXELS)
    assert not image.repairs


def test_image_of_wide_integers_keeps_every_digit(tmp_path: Path) -> None:
    data = np.full((20, 20), 2**24 + 1, np.int32)
    image = read_image(write(tmp_path / "a.fits", fits.PrimaryHDU(data)))
    assert image.data.dtype == np.float64
    assert image.data[0, 0] == 2**24 + 1


def test_pixels_that_overflowed_signed_numbers_are_what_they_were(tmp_path: Path) -> None:
    counts = np.random.default_rng(1).normal(900, 30, (40, 50)).astype(np.int32)
    counts[10:20, 10:20] = np.linspace(20000, 65000, 100).reshape(10, 10)
    path = write(tmp_path / "a.fits", fits.PrimaryHDU(counts.astype(np.uint16).astype(np.int16)))
    image = read_image(path)
    np.testing.assert_array_equal(image.data, counts)
    assert any("overflow" in repair for repair in image.repairs)


def test_negative_pixels_that_did_not_overflow_stay_negative(tmp_path: Path) -> None:
    counts = np.random.default_rng(1).normal(0, 30, (40, 50)).astype(np.int16)
    counts[10, 10], counts[10, 11] = 32767, -500
    image = read_image(write(tmp_path / "a.fits", fits.PrimaryHDU(counts)))
    np.testing.assert_array_equal(image.data, counts)


def test_gzipped_image_is_read_whatever_its_name(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.fits", fits.PrimaryHDU(PIXELS))
    packed = tmp_path / "image.fits"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    image = read_image(packed)
    np.testing.assert_array_equal(image.data, PIXELS)
    assert "Unpacked a compressed file" in image.repairs


def test_tile_compressed_image_is_read(tmp_path: Path) -> None:
    hdu = fits.CompImageHDU(PIXELS.astype(np.int16), compression_type="RICE_1")
    image = read_image(write(tmp_path / "a.fits", fits.PrimaryHDU(), hdu))
    np.testing.assert_array_equal(image.data, PIXELS)
    assert "ZIMAGE" not in image.header


def test_first_plane_of_a_cube_is_taken(tmp_path: Path) -> None:
    cube = np.stack([PIXELS, PIXELS + 1, PIXELS + 2])
    image = read_image(write(tmp_path / "a.fits", fits.PrimaryHDU(cube)))
    np.testing.assert_array_equal(image.data, PIXELS)


def test_image_in_an_extension_inherits_time_and_filter_but_no_coordinates(tmp_path: Path) -> None:
    primary = fits.PrimaryHDU()
    primary.header["FILTER"] = "V"
    primary.header["CRVAL1"] = 12.0
    path = write(tmp_path / "a.fits", primary, fits.ImageHDU(PIXELS))
    image = read_image(path)
    assert image.header["FILTER"] == "V"
    assert "CRVAL1" not in image.header


def test_repeated_and_empty_cards_are_left_out(tmp_path: Path) -> None:
    hdu = fits.PrimaryHDU(PIXELS)
    hdu.header.append(("OBSERVER", "Ada"))
    hdu.header.append(("OBSERVER", "Grace"))
    hdu.header["EMPTY"] = None
    image = read_image(write(tmp_path / "a.fits", hdu))
    assert image.header.count("OBSERVER") == 1
    assert image.header["OBSERVER"] == "Grace"
    assert "EMPTY" not in image.header
    assert len(image.repairs) == 2


def test_pv_terms_make_a_tan_projection_tpv() -> None:
    header = fits.Header(
        {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 20.0, "CRPIX1": 5.0}
    )
    header.update({"CRPIX2": 5.0, "CD1_1": -1e-4, "CD2_2": 1e-4, "PV1_1": 1.0, "PV2_1": 1.0})
    clean, repairs = repaired(header, None)
    assert clean["CTYPE1"] == "RA---TPV"
    assert repairs == ["The projection is TPV: it has PV polynomials"]
    assert wcs_of(clean, (10, 10)) is not None


def test_polynomials_without_a_second_axis_are_no_coordinates() -> None:
    header = fits.Header({"CTYPE1": "RA---TAN", "PV1_1": 1.0, "A_ORDER": 2, "B_ORDER": 2})
    clean, _ = repaired(header, None)
    assert wcs_of(clean, (10, 10)) is None


@pytest.mark.parametrize(
    "cards",
    [
        {"CRVAL2": 517.0},
        {"CD1_1": 0.0, "CD2_2": 0.0},
        {"CD1_1": 0.1},  # 360 arcsec per pixel
        {"CTYPE1": "WAVE", "CTYPE2": "SLIT"},
        {"CRVAL1": float("1e300")},
    ],
)
def test_broken_coordinates_are_none(cards: dict[str, object]) -> None:
    header = fits.Header(
        {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 20.0, "CRPIX1": 5.0}
    )
    header.update({"CRPIX2": 5.0, "CD1_1": -1e-4, "CD2_2": 1e-4})
    assert wcs_of(header, (10, 10)) is not None
    header.update(cards)
    assert wcs_of(header, (10, 10)) is None


def bad_file(kind: str, path: Path) -> None:
    whole = path.with_suffix(".whole")
    fits.PrimaryHDU(PIXELS).writeto(whole)
    table = fits.BinTableHDU.from_columns([fits.Column("a", "E", array=[1.0])])
    contents = {
        "empty": b"",
        "text": b"this is not an image\n" * 500,
        "truncated": whole.read_bytes()[:6000],
        "truncated header": whole.read_bytes()[:1000],
        "truncated gzip": gzip.compress(np.random.default_rng(1).bytes(9000))[:4000],
    }
    if kind in contents:
        path.write_bytes(contents[kind])
    elif kind == "table":
        fits.HDUList([fits.PrimaryHDU(), table]).writeto(path)
    elif kind == "spectrum":
        fits.PrimaryHDU(PIXELS[0]).writeto(path)
    elif kind == "tiny":
        fits.PrimaryHDU(PIXELS[:5, :5]).writeto(path)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("empty", "is empty"),
        ("text", "is not a FITS file"),
        ("truncated", "is truncated"),
        ("truncated header", "FITS"),
        ("truncated gzip", "image.fits"),
        ("table", "There is no 2-D image"),
        ("spectrum", "There is no 2-D image"),
        ("tiny", "only 5 x 5 px"),
        ("missing", "There is no file"),
    ],
)
def test_what_is_no_image_is_refused_in_one_sentence(
    kind: str, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "image.fits"
    bad_file(kind, path)
    with pytest.raises(Permanent) as refusal:
        read_image(path)
    assert reason in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("extension", "keyword", "number"),
    [(0, "NAXIS", 2**62), (0, "NAXIS", -1), (1, "NAXIS", 10**9), (1, "TFIELDS", 10**9)],
)
def test_a_header_that_promises_what_nobody_can_count_to_is_refused(
    tmp_path: Path, extension: int, keyword: str, number: int, packed: bool
) -> None:
    primary = fits.PrimaryHDU(PIXELS[:20] if extension == 0 else None)
    table = fits.BinTableHDU.from_columns([fits.Column("a", "E", array=[1.0])])
    content = write(tmp_path / "a.fits", primary, table).read_bytes()
    card = f"{keyword:8s}="
    place = content.index(card.encode(), content.index(b"XTENSION") if extension else 0)
    content = content[:place] + f"{card} {number:20d}".encode() + content[place + 30 :]
    path = tmp_path / "image.fits"
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(Permanent, match=f"{keyword} is {number}"):
        read_image(path)


@pytest.mark.parametrize("extension", [0, 1])
def test_a_small_file_that_unpacks_to_terabytes_is_refused_without_unpacking(
    tmp_path: Path, extension: int
) -> None:
    header = fits.Header([("SIMPLE", True)] if extension == 0 else [("XTENSION", "IMAGE")])
    header.update({"BITPIX": -32, "NAXIS": 3, "NAXIS1": 1000, "NAXIS2": 1000, "NAXIS3": 10**6})
    first = b"" if extension == 0 else fits.PrimaryHDU().header.tostring().encode()
    path = tmp_path / "image.fits.gz"
    with path.open("wb") as file:
        file.write(gzip.compress(first + header.tostring().encode()))
        zeros = gzip.compress(bytes(2**26))
        for _ in range(200):  # 12.5 GiB, which take minutes to unpack.
            file.write(zeros)
    assert path.stat().st_size < 2**24
    with pytest.raises(Permanent, match="promises more than 16 GiB"):
        read_image(path)
    assert is_complete(path)


@pytest.mark.parametrize("kind", ["zip", "bz2", "xz", "fz"])
def test_what_is_packed_in_another_way_is_not_unpacked_without_a_bound(
    tmp_path: Path, kind: str
) -> None:
    header = fits.Header([("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 2)])
    header.update({"NAXIS1": 2**20, "NAXIS2": 2**20})
    start, path = header.tostring().encode(), tmp_path / "image.fits"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("image.fits", start)
        content = bytearray(path.read_bytes())
        # Where the directory has the size of what is unpacked: 3 GiB, which nobody need make.
        struct.pack_into("<I", content, content.index(b"PK\x01\x02") + 24, 3 * 2**30)
        path.write_bytes(content)
    elif kind == "fz":
        packed = fits.CompImageHDU(np.zeros((40, 50), np.int16))
        fits.HDUList([fits.PrimaryHDU(), packed]).writeto(path)
        content = path.read_bytes()
        for keyword in ("ZNAXIS1", "ZNAXIS2"):
            card, place = f"{keyword:8}= {2**20:>20}".ljust(80), content.index(keyword.encode())
            content = content[:place] + card.encode() + content[place + 80 :]
        path.write_bytes(content)
    else:
        path.write_bytes({"bz2": bz2, "xz": lzma}[kind].compress(start + bytes(2880)))
    assert path.stat().st_size < 2**24
    with pytest.raises(Permanent, match="too large"):
        read_image(path)


def test_an_empty_archive_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.fits", "w") as archive:
        archive.mkdir("folder")
    with pytest.raises(Permanent):
        read_image(tmp_path / "a.fits")
    assert not is_complete(tmp_path / "a.fits")


@pytest.mark.parametrize("pack", [bz2.compress, lzma.compress])
def test_images_packed_in_other_ways_are_read(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    path = write(tmp_path / "a.fits", fits.PrimaryHDU(PIXELS))
    path.write_bytes(pack(path.read_bytes()))
    np.testing.assert_array_equal(read_image(path).data, PIXELS)
    assert is_complete(path)
    path.write_bytes(path.read_bytes()[:-20])
    assert not is_complete(path)


@pytest.mark.parametrize("shape", [(2**20, 2**20), (2**31 - 1, 2**31 - 1)])
def test_an_image_that_is_larger_than_any_memory_is_refused_by_its_header(
    tmp_path: Path, shape: tuple[int, int]
) -> None:
    header = fits.Header([("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 2)])
    header.update({"NAXIS1": shape[1], "NAXIS2": shape[0]})
    path = tmp_path / "image.fits"
    path.write_bytes(header.tostring().encode() + bytes(2880))
    with pytest.raises(Permanent, match="promises more than 16 GiB"):
        read_image(path)


def test_writing_replaces_the_file_and_leaves_its_other_names_alone(tmp_path: Path) -> None:
    path, other = write(tmp_path / "a.fits", fits.PrimaryHDU(PIXELS)), tmp_path / "b.fits"
    other.hardlink_to(path)
    write_image(path, PIXELS + 1)
    np.testing.assert_array_equal(read_image(other).data, PIXELS)
    np.testing.assert_array_equal(read_image(path).data, PIXELS + 1)
