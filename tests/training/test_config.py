"""Settings: what is unknown, of the wrong type or out of range is an error that says so."""

import pytest

from espalier.errors import ConfigError
from espalier.training import DPO, GRPO, RECIPES, Training
from espalier.training.config import dump_toml, override, read_toml


def test_an_unknown_key_is_an_error_that_names_it_and_the_known_ones():
    with pytest.raises(ConfigError, match=r"unknown key 'betta'; DPO knows .*beta"):
        DPO(betta=0.1)


def test_a_value_out_of_range_is_an_error_that_shows_it():
    with pytest.raises(ConfigError, match=r"lr: found -1"):
        Training(steps=1, lr=-1)


def test_a_run_has_one_length():
    with pytest.raises(ConfigError, match="either steps or epochs"):
        Training(steps=1, epochs=1)
    with pytest.raises(ConfigError, match="either steps or epochs"):
        Training()
    assert Training(epochs=2, batch_size=8).total(20) == 5


def test_settings_survive_toml():
    for recipe in (DPO(beta=0.3), GRPO(n=4, advantage="leave_one_out")):
        import tomllib

        assert type(recipe)(**tomllib.loads(dump_toml(recipe.model_dump()))) == recipe


def test_overrides_reach_into_tables_and_refuse_what_is_no_assignment():
    assert override({"a": {"b": 1}}, ["a.b=2", "a.c=text", "d=[1, 2]"]) == {"a": {"b": 2, "c": "text"}, "d": [1, 2]}
    with pytest.raises(ConfigError, match="key=value"):
        override({}, ["training.lr"])
    with pytest.raises(ConfigError, match="is a value, not a table"):
        override({"a": 1}, ["a.b=2"])


def test_a_broken_toml_file_is_named_with_its_line(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("[recipe]\nbeta = \n")
    with pytest.raises(ConfigError, match=r"config.toml: not TOML: .*line 2"):
        read_toml(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_toml(tmp_path / "absent.toml")


def test_each_recipe_has_its_own_name():
    assert sorted(RECIPES) == [
        *("b-coder", "critic", "dpo", "grpo", "implicit", "online-dpo", "oreo", "ppo"),
        *("process", "reward", "sft", "value"),
    ]
