"""Settings of gossip: keys are read in either spelling, and no error shows them."""

from __future__ import annotations

import base64

import pytest

from level4.model import ConfigError
from level4.ops.allowed import split_keys
from level4.ops.settings import load

ONE, OTHER = bytes(range(32)), bytes(32)


def test_keys_in_hexadecimal_and_base64() -> None:
    listed = f"{ONE.hex()}, {base64.b64encode(OTHER).decode()}"
    assert split_keys(listed) == (ONE, OTHER)
    keys = load({"LEVEL4_CLUSTER_KEYS": listed}).cluster_keys
    assert keys is not None
    assert split_keys(keys.reveal()) == (ONE, OTHER)


@pytest.mark.parametrize("wrong", [ONE.hex()[:-2], "not-a-key", base64.b64encode(ONE[:31]).decode(), "zz" * 32])
def test_what_is_no_key_is_refused_unseen(wrong: str) -> None:
    with pytest.raises(ConfigError, match="key 2 is not 32 bytes") as caught:
        load({"LEVEL4_CLUSTER_KEYS": f"{ONE.hex()},{wrong}"})
    assert wrong not in str(caught.value)
    assert ONE.hex() not in str(caught.value)


def test_a_name_that_is_none() -> None:
    with pytest.raises(ConfigError, match="LEVEL4_CLUSTER"):
        load({"LEVEL4_CLUSTER": "two words"})
