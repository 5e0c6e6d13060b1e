"""Are the names that a configuration may use to be had by everybody?"""

from __future__ import annotations

import pytest

from skyrelay.parameters import PARAMETERS
from tests.support.gateway import Bench, Caller

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_filters_catalogues_and_templates_are_named_without_a_token(bench: Bench) -> None:
    http = bench.app.test_client()
    names = http.get("/api/reference/").json
    assert set(names) == {"filters", "catalogs", "templates"}
    for kind, found in names.items():
        entries = http.get(f"/api/reference/{kind}/").json
        assert list(entries) == found
        assert all(entry["name"] for entry in entries.values())
    assert {"U", "g", "BP", "Ks"} <= set(names["filters"])
    assert http.get("/api/reference/catalogs").json["ps1"]["limit"] == "rmag"
    assert http.get("/api/reference/filters/").json["r"]["aliases"]
    assert http.get("/api/reference/nonsense/").status_code == 404
    assert http.post("/api/reference/").status_code == 405


def test_the_names_are_those_that_the_parameters_take(alice: Caller) -> None:
    names = alice.get("reference/").json
    assert set(names["templates"]) == set(PARAMETERS["template"].choices)
    assert set(names["catalogs"]) | {"local"} == set(PARAMETERS["cat_name"].choices)
