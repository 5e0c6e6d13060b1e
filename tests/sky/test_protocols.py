"""Does the sky server speak as the real services do, in the ears of the clients the world uses?"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from types import SimpleNamespace

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord, get_icrs_coordinates
from astropy.coordinates.name_resolve import NameResolveError, sesame_url
from astropy.io import fits
from astropy.table import Table
from astropy.time import Time
from astroquery.imcce import Skybot
from astroquery.imcce import conf as imcce_conf
from astroquery.vizier import VizierClass
from astroquery.xmatch import XMatchClass
from stdpipe.astrometry import spherical_distance
from stdpipe.templates import find_skycells, normalize_ps1_skycell

from tests.sky.conftest import EPOCH, SPEC
from tests.sky.server import SkyServer

CENTRE = SkyCoord(SPEC.ra, SPEC.dec, unit="deg")


@pytest.fixture(autouse=True)
def without_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_astroquery_reads_vizier(server: SkyServer) -> None:
    class Vizier(VizierClass):  # type: ignore[misc]
        def _server_to_url(self, return_type: str = "votable") -> str:
            return server.url("vizier")

    query = Vizier(columns=["*"], column_filters={"rmag": "<18"}, row_limit=-1)
    (table,) = query.query_region(CENTRE, radius=0.03 * u.deg, catalog="II/349/ps1", cache=False)
    assert len(table) > 5 and np.all(table["rmag"] < 18)
    away = spherical_distance(SPEC.ra, SPEC.dec, table["RAJ2000"], table["DEJ2000"])
    assert away.max() < 0.03
    elsewhere = SkyCoord(10, 10, unit="deg")
    assert not query.query_region(elsewhere, radius=1 * u.deg, catalog="II/349/ps1", cache=False)


def test_astroquery_reads_xmatch(server: SkyServer) -> None:
    xmatch = XMatchClass()
    xmatch.URL = server.url("xmatch")
    stars = server.heavens.catalogue[:5]
    given = Table({"ra": stars["ra"].value, "dec": stars["dec"].value, "mine": np.arange(5)})
    found = xmatch.query(
        given, "vizier:II/349/ps1", 1 * u.arcsec, colRA1="ra", colDec1="dec", cache=False
    )
    assert sorted(found["mine"]) == [0, 1, 2, 3, 4] and np.all(found["angDist"] < 1)


def test_astroquery_reads_skybot(server: SkyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its own configuration takes no other address than the real one.
    conf = SimpleNamespace(
        skybot_server=server.url("skybot"), timeout=60, field_names=imcce_conf.field_names
    )
    monkeypatch.setattr("astroquery.imcce.core.conf", conf)
    found = Skybot.cone_search(CENTRE, 0.1 * u.deg, Time(EPOCH, format="jd"), cache=False)
    assert list(found["Name"]) == ["Tycho"]
    assert found["RA"][0].to_value(u.deg) == pytest.approx(SPEC.ra + 0.01, abs=1e-5)


def test_astropy_reads_sesame(server: SkyServer) -> None:
    with sesame_url.set([server.url("sesame")]):
        assert get_icrs_coordinates("M 31").ra.deg == pytest.approx(10.68470833)
        with pytest.raises(NameResolveError, match="Unable to find"):
            get_icrs_coordinates("Nowhere")


def test_archives_have_the_files_that_stdpipe_names(server: SkyServer) -> None:
    for survey, service, root in (
        ("ps1", "ps1", "https://ps1images.stsci.edu"),
        ("ls", "legacy_survey", "https://portal.nersc.gov/cfs/cosmo/data/legacysurvey"),
    ):
        for what in ("image", "mask"):
            urls = find_skycells(SPEC.ra, SPEC.dec, 0.05, band="r", ext=what, survey=survey)
            assert urls
            with fits.open(urls[0].replace(root, server.url(service))) as parts:
                assert parts[1].data.ndim == 2
                image, header = normalize_ps1_skycell(parts[1].data, parts[1].header)
                assert "BSOFTEN" not in header and np.isfinite(image).mean() > 0.9
