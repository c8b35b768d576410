"""Intervals against the fractions they enclose."""

import operator
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bs6207.bump.proof import ONE, UNIT, Interval, NoProof, decimal, enclose

OPERATIONS = [operator.add, operator.sub, operator.mul, operator.truediv]


def holds(interval, number):
    return Fraction(interval.low, UNIT) <= number <= Fraction(interval.high, UNIT)


@pytest.mark.parametrize("operation", OPERATIONS)
@given(st.fractions(-5, 5), st.fractions(Fraction(1, 1000), 5), st.fractions(0, 1), st.fractions(0, Fraction(1, 2000)))
def test_arithmetic_encloses_the_result_for_all_numbers_inside(operation, one, other, wide, narrow):
    left = Interval(enclose(one - wide).low, enclose(one + wide).high)
    right = Interval(enclose(other - narrow).low, enclose(other + narrow).high)
    for a in (one - wide, one, one + wide):
        for b in (other - narrow, other, other + narrow):
            assert holds(operation(left, right), operation(a, b))


@given(st.fractions(0, 5), st.integers(0, 5))
def test_roots_and_powers_enclose_the_result(number, exponent):
    root = enclose(number).sqrt()
    assert Fraction(root.low, UNIT) ** 2 <= number <= Fraction(root.high, UNIT) ** 2
    assert holds(enclose(number) ** exponent, number**exponent)


def test_a_comparison_holds_only_if_it_holds_for_all_numbers_inside():
    overlapping = Interval(0, 2), Interval(1, 3)
    assert not any(compare(*overlapping) for compare in (operator.lt, operator.gt, operator.le, operator.ge))
    assert Interval(0, 1) <= Interval(1, 2)
    assert not Interval(0, 1) < Interval(1, 2)
    assert Interval(2, 3) > Interval(0, 1)


def test_a_divisor_that_may_be_nought_is_refused():
    with pytest.raises(NoProof, match="cannot be told from 0"):
        ONE / Interval(0, UNIT)


def test_decimals_are_exact():
    assert decimal(-UNIT // 4) == "-0.25"
    assert Fraction(decimal(enclose(Fraction(1, 3)).low)) == Fraction(UNIT // 3, UNIT)
