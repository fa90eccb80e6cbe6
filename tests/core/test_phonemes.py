import pytest

from redub.core.errors import ConfigError
from redub.core.phonemes import PAD, SIL, SYMBOLS, TABLE_SIZE, id_of, is_pause, symbol_of


def test_ids_are_those_of_the_reference_family_plus_one():
    # "{HH AH0 L OW1 sp}" is [42, 9, 53, 59, 84] in HPMDubbing and StyleDubber, where AA is 0.
    assert [id_of(s) for s in ("HH", "AH0", "L", "OW1", "sp")] == [43, 10, 54, 60, 85]


def test_the_table_has_87_symbols_and_a_pad():
    assert len(SYMBOLS) == len(set(SYMBOLS)) == 87
    assert TABLE_SIZE == 88
    assert PAD not in [id_of(symbol) for symbol in SYMBOLS]


def test_symbol_and_id_undo_each_other():
    assert [symbol_of(id_of(symbol)) for symbol in SYMBOLS] == list(SYMBOLS)


def test_pauses_are_the_last_three_symbols():
    assert [s for s in SYMBOLS if is_pause(id_of(s))] == ["sp", "spn", "sil"]
    assert SIL == 87


@pytest.mark.parametrize("phoneme", [0, 88, -1])
def test_an_id_outside_the_table_is_refused(phoneme):
    with pytest.raises(ConfigError, match="1 to 87"):
        symbol_of(phoneme)


def test_an_unknown_symbol_is_refused_with_its_neighbour():
    with pytest.raises(ConfigError, match="did you mean 'AH0'"):
        id_of("ah0".upper() + "x")
