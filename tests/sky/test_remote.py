"""Is every fault of a service a sentence and never a crash, and is nothing broken ever kept?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from astropy.time import Time
from stdpipe.astrometry import spherical_distance

from skyrelay import episodes
from skyrelay.episodes import Ending, Episode, Kind
from skyrelay.errors import Permanent, Retriable
from skyrelay.sky import hips, names, originals, solar_system, vizier
from skyrelay.sky.healpix import Cone
from skyrelay.sky.remote import Offline, Remote
from tests.sky.conftest import EPOCH, SPEC
from tests.sky.heavens import square
from tests.sky.server import Fault, SkyServer

CONE = Cone(SPEC.ra, SPEC.dec, 0.03)
WCS, SHAPE = square(SPEC.ra, SPEC.dec, 64, 0.8), (64, 64)
POSITIONS = Table({"ra": [SPEC.ra], "dec": [SPEC.dec], "mine": [7]})

#: One question to each service, through the code that the stages use.
QUESTIONS: dict[str, Callable[[Remote], object]] = {
    "vizier": lambda remote: vizier.entries_in(remote, "ps1", CONE),
    "xmatch": lambda remote: vizier.matches(remote, POSITIONS, "ps1", 0.02),
    "skybot": lambda remote: solar_system.bodies_in(remote, CONE, Time(EPOCH, format="jd")),
    "sesame": lambda remote: names.position_of(remote, "M 31"),
    "transients": lambda remote: names.position_of(remote, "AT 2023lxx"),
    "hips2fits": lambda remote: hips.fetch_square(
        remote, "CDS/P/DES-DR2/r", SPEC.ra, SPEC.dec, 64, 1.0
    ),
    "ps1": lambda remote: list(originals.pieces_of(remote, "ps1", "r", WCS, SHAPE, CONE)),
    "legacy_survey": lambda remote: list(originals.pieces_of(remote, "ls", "r", WCS, SHAPE, CONE)),
}
BROKEN = [
    Fault.ERROR, Fault.BUSY, Fault.CUT, Fault.SHORT, Fault.GARBAGE, Fault.EMPTY, Fault.PAGE,
]  # fmt: skip

every_service = pytest.mark.parametrize("service", QUESTIONS)


@every_service
@pytest.mark.parametrize("fault", BROKEN, ids=lambda fault: fault.name.lower())
def test_a_service_that_recovers_is_asked_again(
    service: str, fault: Fault, server: SkyServer, remote: Remote
) -> None:
    server.fail(service, fault, times=2)
    assert QUESTIONS[service](remote) is not None
    assert server.count()[service] >= 3


@every_service
@pytest.mark.parametrize("fault", BROKEN, ids=lambda fault: fault.name.lower())
def test_a_service_that_stays_broken_may_be_tried_later_and_leaves_nothing(
    service: str, fault: Fault, server: SkyServer, remote: Remote, tmp_path: Path
) -> None:
    server.fail(service, fault)
    with pytest.raises(Retriable, match=r"; (use|leave|give|choose) ") as raised:
        QUESTIONS[service](remote)
    assert "127.0.0.1" not in str(raised.value) and str(raised.value).endswith(".")
    assert server.count()[service] == 3
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and path.parent.name != ".locks"]
    assert [path for path in kept if service in path.parts] == []
    server.mend()
    assert QUESTIONS[service](remote) is not None


@every_service
def test_a_request_that_is_wrong_is_not_repeated(
    service: str, server: SkyServer, remote: Remote
) -> None:
    server.fail(service, Fault.REFUSED)
    with pytest.raises(Permanent, match="does not accept the request"):
        QUESTIONS[service](remote)
    assert server.count()[service] == 1


@every_service
@pytest.mark.parametrize("fault", [Fault.HANGS, Fault.SLOW], ids=["hangs", "slow"])
def test_nobody_waits_for_ever(
    service: str, fault: Fault, server: SkyServer, ask: Callable[..., Remote]
) -> None:
    remote = ask(skyrelay_ask_again=(), skyrelay_read_timeout=0.5, skyrelay_answer_timeout=0.5)
    server.fail(service, fault)
    with pytest.raises(Retriable, match="no answer in time"):
        QUESTIONS[service](remote)


@every_service
def test_an_address_where_nobody_is_leads_to_the_mirror(
    service: str, server: SkyServer, ask: Callable[..., Remote]
) -> None:
    remote = ask(**{f"skyrelay_{service}_urls": f"http://127.0.0.1:9/, {server.url(service)}"})
    assert QUESTIONS[service](remote) is not None


def test_a_broken_service_is_left_for_its_mirror_at_once(
    server: SkyServer, ask: Callable[..., Remote], log: list[str]
) -> None:
    both = f"{server.url('vizier')},{server.url('mirror/vizier')}"
    server.fail("vizier", Fault.GARBAGE)
    QUESTIONS["vizier"](ask(skyrelay_vizier_urls=both))
    assert server.count() == {"vizier": 1, "mirror/vizier": 1}
    assert any("VizieR at http" in line and "no VOTable" in line for line in log)


@every_service
def test_what_was_asked_before_is_known_without_the_network(
    service: str, server: SkyServer, remote: Remote, ask: Callable[..., Remote]
) -> None:
    QUESTIONS[service](remote)
    before = server.count()
    assert QUESTIONS[service](remote) is not None
    offline = ask(offline=True, skyrelay_cache_days_positions=0, skyrelay_cache_days_images=0)
    if service != "transients":  # that Sesame does not know a name is not kept
        assert server.count() == before
        assert QUESTIONS[service](offline) is not None


@every_service
def test_offline_nothing_is_asked_and_the_sentence_says_what_to_do(
    service: str, server: SkyServer, ask: Callable[..., Remote]
) -> None:
    with pytest.raises(Offline, match=r"\(offline\); (use|leave|give|choose) "):
        QUESTIONS[service](ask(offline=True))
    assert not server.asked


def test_an_answer_that_is_too_large_is_refused(
    server: SkyServer, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vizier, "VIZIER", replace(vizier.VIZIER, largest=1000))
    with pytest.raises(Permanent, match="brighter cat_limit"):
        QUESTIONS["vizier"](remote)


def test_a_cone_has_all_entries_and_no_others(server: SkyServer, remote: Remote) -> None:
    found = vizier.entries_in(remote, "ps1", CONE, {"rmag": "<20"})
    truth = server.heavens.catalogue
    away = spherical_distance(CONE.ra, CONE.dec, truth["ra"], truth["dec"])
    assert len(found) == np.sum((away < CONE.radius) & (np.asarray(truth["rmag"]) < 20)) > 10
    assert {"Bmag", "e_Vmag", "g_SDSS"} <= set(found.colnames)


def test_neighbouring_fields_share_one_answer(server: SkyServer, remote: Remote) -> None:
    for east, north, wider in ((0, 0, 1.0), (1, -1, 1.01), (-2, 2, 0.98)):
        cone = Cone(CONE.ra + east / 3600, CONE.dec + north / 3600, CONE.radius * wider)
        assert len(vizier.entries_in(remote, "ps1", cone))
    assert server.count()["vizier"] == 1


def test_an_empty_part_of_the_sky_is_no_failure(remote: Remote) -> None:
    assert len(vizier.entries_in(remote, "ps1", Cone(10.0, 10.0, 0.1))) == 0
    far = Table({"ra": [10.0], "dec": [10.0], "mine": [1]})
    assert len(vizier.matches(remote, far, "ps1", 0.001)) == 0
    time = Time(EPOCH, format="jd")
    assert len(solar_system.bodies_in(remote, Cone(10.0, 10.0, 0.1), time)) == 0


def test_what_vizier_complains_about_reaches_the_user(remote: Remote) -> None:
    with pytest.raises(Retriable, match="Catalogue II/nonsense not found"):
        vizier.entries_in(remote, "II/nonsense", CONE)


@pytest.mark.parametrize("name", sorted({*vizier.catalogs.catalogs} & {
    "ps1", "gaiaedr3", "skymapper", "sdss", "atlas", "gaiadr3syn", "2mass"
}))  # fmt: skip
def test_every_catalogue_comes_with_positions_and_magnitudes(name: str, remote: Remote) -> None:
    found = vizier.entries_in(remote, name, CONE)
    assert len(found) > 10 and {"RAJ2000", "DEJ2000"} <= set(found.colnames)
    assert any(column.startswith("e_") and column.endswith("mag") for column in found.colnames)


def test_matches_come_with_what_was_sent_along(remote: Remote, server: SkyServer) -> None:
    star = server.heavens.catalogue[3]
    given = Table({"ra": [10.0, star["ra"]], "dec": [10.0, star["dec"]], "mine": [4, 9]})
    found = vizier.matches(remote, given, "gaiaedr3", 1 / 3600)
    assert list(found["mine"]) == [9] and found["angDist"][0] < 1


def test_bodies_are_where_they_are_at_the_time(remote: Remote) -> None:
    later = Time(EPOCH + 2 / 24, format="jd")
    (body,) = solar_system.bodies_in(remote, CONE, later)
    assert body["name"] == "Tycho" and body["V"] == 18.0
    moved = (SPEC.ra + 0.01 + 60 / 3600 / np.cos(np.radians(SPEC.dec)), SPEC.dec - 12 / 3600)
    assert spherical_distance(body["ra"], body["dec"], *moved) < 0.1 / 3600


def test_names_are_found_and_unknown_ones_said_to_be(server: SkyServer, remote: Remote) -> None:
    assert names.position_of(remote, "M 31") == pytest.approx((10.68470833, 41.26875))
    assert names.position_of(remote, "AT2023lxx") == pytest.approx((123.456, -45.678))
    for name in ("Nowhere", "SN 1066z"):
        with pytest.raises(Permanent, match=f"'{name}' is unknown"):
            names.position_of(remote, name)


def test_a_transient_is_not_unknown_while_a_resolver_is_silent(
    server: SkyServer, remote: Remote
) -> None:
    server.fail("sesame", Fault.ERROR)
    assert names.position_of(remote, "AT2023lxx") == pytest.approx((123.456, -45.678))
    with pytest.raises(Retriable, match="'AT1066z' cannot be looked up"):
        names.position_of(remote, "AT1066z")


def test_questions_and_looks_into_the_cache_are_noted(
    server: SkyServer, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[Episode] = []
    monkeypatch.setattr(episodes, "_listener", noted.append)
    server.fail("sesame", Fault.ERROR, times=1)
    for _ in range(2):
        QUESTIONS["sesame"](remote)
    assert [(each.kind, each.name, each.ending) for each in noted] == [
        (Kind.CACHE, "sesame", Ending.MISS),
        (Kind.SKY, "sesame", Ending.FAILED),
        (Kind.SKY, "sesame", Ending.OK),
        (Kind.CACHE, "sesame", Ending.HIT),
    ]
    assert noted[2].size > 0
