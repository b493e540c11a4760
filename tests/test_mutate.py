"""What `make mutate` makes of mutmut's results and of the list of equivalent mutants."""

from __future__ import annotations

import ast
from pathlib import Path

import mutate
import pytest
from mutate import Change, judge, read_changes, read_equivalent

ROOT = Path(__file__).resolve().parent.parent
GENERATED = '''
class Ring:
    @_mutmut_mutated(x)
    def write(self, n):
        return 1
    def xǁRingǁwrite__mutmut_orig(self, n):
        if n < 0:
            raise ValueError("got too few, expected more")
        return n + 1
    def xǁRingǁwrite__mutmut_1(self, n):
        if n <= 0:
            raise ValueError("got too few, expected more")
        return n + 1
    def xǁRingǁwrite__mutmut_2(self, n):
        if n < 0:
            raise ValueError("XXgot too few, expected moreXX")
        return n + 1
    def xǁRingǁwrite__mutmut_3(self, n):
        if n < 0:
            raise ValueError("got too few, expected more")
        return n - 1

def x_say__mutmut_orig():
    return b"not found"
def x_say__mutmut_1():
    return b"NOT FOUND"

def x_shrink__mutmut_orig(a):
    return a
def x_shrink__mutmut_1(a):
    return None
'''
FIRST = Change("Ring.write", "if n < 0:", "if n <= 0:")
THIRD = Change("Ring.write", "return n + 1", "return n - 1")
SHRINK = Change("shrink", "return a", "return None")


def test_what_each_mutant_changes_is_told_by_its_lines_and_wording_is_left_out():
    assert read_changes(GENERATED) == {
        "xǁRingǁwrite__mutmut_1": FIRST, "xǁRingǁwrite__mutmut_2": None, "xǁRingǁwrite__mutmut_3": THIRD,
        "x_say__mutmut_1": None, "x_shrink__mutmut_1": SHRINK,
    }


CODES = {"stream.ring.xǁRingǁwrite__mutmut_1": 0, "stream.ring.xǁRingǁwrite__mutmut_2": 0,
         "stream.ring.xǁRingǁwrite__mutmut_3": 1, "stream.ring.x_shrink__mutmut_1": 33}


def test_what_survives_is_missed_unless_it_is_named():
    gone = Change("Ring.write", "x", "y")
    result = judge(CODES, read_changes(GENERATED), {FIRST: "why", gone: "why"})
    assert (result.mutants, result.noticed, result.equivalent) == (3, 1, 1)
    assert (result.missed, result.unused, result.good) == ([SHRINK], [gone], False)


@pytest.mark.parametrize(("noticed", "equivalent", "good"), [(9, 1, True), (8, 2, False), (10, 0, True)])
def test_nine_tenths_have_to_be_noticed_whatever_is_named(noticed, equivalent, good):
    assert mutate.Result(noticed, equivalent, [], []).good is good


@pytest.mark.parametrize("code", [1, 3, -24, 36, 255])
def test_a_failure_an_error_and_a_hang_are_noticed(code):
    codes = dict.fromkeys(CODES, code)
    assert judge(codes, read_changes(GENERATED), {}).noticed == 3


@pytest.mark.parametrize("code", [0, 5, 33, None])
def test_a_mutant_that_no_test_reached_or_that_was_not_tried_is_missed(code):
    assert judge(dict.fromkeys(CODES, code), read_changes(GENERATED), {}).missed == [FIRST, THIRD, SHRINK]


def test_the_list_is_read_with_its_reasons():
    text = "# about\n\nstream/ring.py\n\n  Ring.write\n    - a - b\n    + a + b\n    because it is so\n" \
        "    - c\n    +\n    because it is\n  f\n    -\n    + d\n    because\n"
    with pytest.raises(ValueError, match="line 15"):
        read_equivalent(text)
    assert read_equivalent(text.replace("because\n", "because why\n")) == {"stream/ring.py": {
        Change("Ring.write", "a - b", "a + b"): "it is so", Change("Ring.write", "c", ""): "it is",
        Change("f", "", "d"): "why",
    }}


@pytest.mark.parametrize("text", ["m.py\n  f\n    - a\n    + b\n", "m.py\n    because it is\n", "m.py\n    loose\n"])
def test_a_list_that_is_out_of_order_is_refused(text):
    with pytest.raises(ValueError, match=r"mutants_equivalent\.txt"):
        read_equivalent(text)


def test_modules_tests_and_functions_that_are_named_are_there():
    modules = {module for module, _ in mutate.TARGETS.values()}
    for module, tests in mutate.TARGETS.values():
        assert all((ROOT / path).is_file() for path in (module, *tests)), module
    for module, changes in read_equivalent(mutate.EQUIVALENT.read_text(encoding="utf-8")).items():
        assert module in modules
        names = {node.name for node in ast.walk(ast.parse((ROOT / module).read_text(encoding="utf-8")))
                 if isinstance(node, ast.FunctionDef)}
        assert {change.function.rpartition(".")[2] for change in changes} <= names
        assert all(len(reason.split()) >= 3 for reason in changes.values())
