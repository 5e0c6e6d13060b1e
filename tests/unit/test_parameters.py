"""Does the table of parameters accept what it should, and say clearly what it does not?"""

from __future__ import annotations

from pathlib import Path

import pytest

from skyrelay.parameters import (
    PARAMETERS,
    ParameterError,
    parse_assignments,
    unknown,
    validate,
)
from skyrelay.parameters.document import as_markdown
from skyrelay.stages import STAGES

ROOT = Path(__file__).parents[2]


def test_values_get_the_type_of_their_parameter() -> None:
    checked = validate({"sn": "3", "use_color": "false", "simple_others": "4, 5", "minarea": 7.0})
    assert checked.config == {
        "sn": 3.0,
        "use_color": False,
        "simple_others": [4, 5],
        "minarea": 7,
    }


def test_an_unknown_key_is_kept_and_named() -> None:
    checked = validate({"observer": "Tycho"})
    assert checked.config == {"observer": "Tycho"}
    assert checked.unknown == ("observer",)


def test_an_unknown_key_is_answered_with_the_nearest_known_one() -> None:
    assert unknown("gian") == "no stage reads this parameter; did you mean gain?"
    assert unknown("observer") == "no stage reads this parameter"


def test_null_and_empty_text_mean_not_set() -> None:
    assert validate({"gain": None, "filter": ""}).config == {"gain": None, "filter": None}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("sn", "many", "a number from 0.1 to 1000"),
        ("sn", True, "a number"),
        ("sn", float("nan"), "a number"),
        ("sn", 10**400, "a number"),
        ("spatial_order", 2.5, "a whole number from 0 to 6"),
        ("spatial_order", 7, "a whole number from 0 to 6"),
        ("gain", -1, "e-/ADU"),
        ("use_color", "perhaps", "true or false"),
        ("cat_name", "hipparcos", "one of gaiadr3syn, ps1"),
        ("hotpants_extra", "ko=1", "an object"),
        ("hotpants_extra", {"ko 0; rm": 1}, "option names"),
        ("hotpants_extra", {"r": ["5; rm"]}, "numbers"),
        ("hotpants_extra", {"outim": "/etc/passwd"}, "numbers"),
        ("hotpants_extra", {"r": float("inf")}, "numbers"),
        ("hotpants_extra", {"r": 10**400}, "numbers"),
        ("targets", [1], "a list of objects"),
        ("simple_others", [0], "a list of whole numbers"),
        ("filter", ["r"], "a text"),
        ("cat_file", "a\x00b", "a text"),
        ("stack_filenames", 5, "a list of texts"),
    ],
)
def test_a_wrong_value_is_refused_by_name_and_with_what_is_allowed(
    name: str, value: object, words: str
) -> None:
    with pytest.raises(ParameterError) as caught:
        validate({name: value})
    assert str(caught.value).startswith(f"{name}: ")
    assert words in str(caught.value)


def test_a_long_wrong_value_is_shown_shortened() -> None:
    with pytest.raises(ParameterError) as caught:
        validate({"sn": "x" * 10_000})
    assert len(str(caught.value)) < 200


def test_assignments_may_be_json_or_plain_words() -> None:
    words = ["filter=r", "sn=3", 'hotpants_extra={"ko": 1}', "cat_file=1e5"]
    assert parse_assignments(words) == {
        "filter": "r",
        "sn": 3.0,
        "hotpants_extra": {"ko": 1},
        "cat_file": "1e5",
    }
    assert parse_assignments(["cat_file=a=b.vot"]) == {"cat_file": "a=b.vot"}


def test_a_misspelt_assignment_names_the_nearest_parameter() -> None:
    with pytest.raises(ParameterError, match="did you mean spatial_order"):
        parse_assignments(["spatial_ordr=1"])


def test_every_default_is_a_value_that_its_parameter_takes() -> None:
    for each in PARAMETERS.values():
        assert each.check(each.default) == each.default, each.name


def test_every_parameter_belongs_to_stages_that_exist() -> None:
    steps = {stage.step for stage in STAGES}
    for each in PARAMETERS.values():
        assert set(each.steps) <= steps, each.name


def test_the_reference_of_parameters_is_up_to_date() -> None:
    assert (ROOT / "docs" / "parameters.md").read_text() == as_markdown()
