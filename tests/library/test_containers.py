"""Map and Set: types of keys and values, order, what each method returns, and Iterators under foreach."""

from __future__ import annotations

import pytest
from snippets import output_of

from hsl.errors import ScriptError

GOOD = [
    (
        '$m = Map("string", "number"); $m->set("b", 1); $m->set("a", 2); $m->set("b", 3);'
        'foreach ($m->entries() as $k => $v) echo "$k=$v";',
        ["b=3", "a=2"],
    ),
    ('$m = Map("string", "any"); $m->set("1", "a"); echo $m->has("1"); echo $m->has("01");', ["true", "false"]),
    ('$m = Map("string", "any"); $m->set("1", "a"); foreach ($m->entries() as $k => $v) echo is_string($k);', ["true"]),
    ('$m = Map("number", "any"); $m->set(1.5, none); echo $m->has(1.5); echo $m->get(1.5);', ["true", "none"]),
    ('$m = Map("boolean", "string"); $m->set(true, "yes"); echo $m->get(true); echo $m->get(false);', ["yes", "none"]),
    ('$m = Map("string", "array"); $m->merge("k", [1]); $m->merge("k", [2]); echo $m->get("k");', ["[0=>1,1=>2]"]),
    ('$m = Map("string", "string"); $m->merge("k", "a"); $m->merge("k", "b"); echo $m->get("k");', ["ab"]),
    ('$m = Map("string", "function"); $m->set("f", length); echo $m->get("f")("abc");', ["3"]),
    ('$m = Map("string", "object"); $m->set("m", Map("string", "any")); echo $m->get("m")->size();', ["0"]),
    ('$a = [1]; $m = Map("string", "array"); $m->set("k", $a); $a[] = 2; echo $m->get("k");', ["[0=>1]"]),
    ('$m = Map("string", "array"); $m->set("k", [1]); $b = $m->get("k"); $b[] = 2; echo $m->get("k");', ["[0=>1]"]),
    ('$m = Map("string", "any"); $n = $m; $n->set("k", 1); echo $m->size();', ["1"]),
    ('$m = Map("string", "any"); $f = $m->set; $f("k", 1); echo $m->has("k");', ["true"]),
    ('$m = Map("string", "any"); echo $m["size"]();', ["0"]),
    ('echo Map("string", "any");', ["Map"]),
    ('echo is_object(Set("string"));', ["true"]),
    (
        '$s = Set("string"); $s->add("b"); $s->add("a"); $s->add("b");foreach ($s->values() as $i => $v) echo "$i=$v";',
        ["0=b", "1=a"],
    ),
    ('$s = Set("number"); $s->add(0); echo $s->has(-0); echo $s->size();', ["true", "1"]),
    (
        '$s = Set("string"); $s->add("\\x00\\xff"); echo $s->has("\\x00\\xff"); echo $s->has("\\x00");',
        ["true", "false"],
    ),
    ('$s = Set("string"); foreach ($s->values() as $v) echo $v; echo "end";', ["end"]),
    ('$s = Set("string"); $s->add("a" * 10000000); echo $s->has("a" * 10000000);', ["true"]),
]


@pytest.mark.parametrize(("script", "wanted"), GOOD)
def test_scripts(script: str, wanted: list[str]) -> None:
    assert output_of(script) == wanted


BAD = [
    ('Map("strin", "any");', "Map(): parameter 1 (keytype): wanted one of string, number, boolean"),
    ('Map("array", "any");', "Map(): parameter 1 (keytype): wanted one of string, number, boolean"),
    ('Map("string", "none");',
     "Map(): parameter 2 (valuetype): wanted one of string, number, boolean, array, function, object, any"),
    ('Set("any");', "Set(): parameter 1 (keytype): wanted one of string, number, boolean"),
    ('Set(1);', "Set(): parameter 1 (keytype): wanted string, got number"),
    ('$m = Map("string", "any"); $m->set(1, 1);', "Map->set(): parameter 1 (key): wanted string, got number"),
    ('$m = Map("string", "number"); $m->set("a", "1");', "Map->set(): parameter 2 (value): wanted number, got string"),
    ('$m = Map("string", "number"); $m->set("a", none);', "Map->set(): parameter 2 (value): wanted number, got none"),
    ('$m = Map("string", "any"); $m->get([]);', "Map->get(): parameter 1 (key): wanted string, got array"),
    ('$m = Map("number", "any"); $m->set(0 / 0, 1);', "Map->set(): parameter 1 (key): cannot be nan"),
    ('$m = Map("string", "object"); $m->merge("a", $m); $m->merge("a", $m);',
     "Map->merge(): the sum: wanted object, got number"),
    ('$m = Map("string", "any"); $m->ste("a", 1);', "Map has no method ste()"),
    ('$s = Set("number"); $s->add("1");', "Set->add(): parameter 1 (key): wanted number, got string"),
    ('foreach (Set("number") as $x) echo $x;', "foreach wants an array or an iterator, got Set"),
    ('$s = Set("number"); echo $s->values()->next();', "Iterator has no method next()"),
]  # fmt: skip


@pytest.mark.parametrize(("script", "wanted"), BAD)
def test_errors(script: str, wanted: str) -> None:
    with pytest.raises(ScriptError) as caught:
        output_of(script)
    assert caught.value.message == wanted


def test_an_iterator_is_a_snapshot() -> None:
    script = """
        $m = Map("number", "number");
        for ($i = 0; $i < 3; $i += 1) $m->set($i, $i);
        foreach ($m->entries() as $k => $v) { $m->set($k + 10, $v); $m->delete($k); }
        echo $m->size();
        foreach ($m->entries() as $k => $v) echo $k;
    """
    assert output_of(script) == ["3", "10", "11", "12"]


def test_an_iterator_that_was_left_goes_on() -> None:
    script = """
        $s = Set("string");
        foreach (["a", "b", "c"] as $x) $s->add($x);
        $items = $s->values();
        foreach ($items as $x) { echo $x; break; }
        foreach ($items as $x) echo $x;
        foreach ($items as $x) echo "again";
    """
    assert output_of(script) == ["a", "b", "c"]


def test_an_iterator_in_a_generator() -> None:
    script = """
        function pairs($map) { foreach ($map->entries() as $k => $v) yield $v => $k; }
        $m = Map("string", "number");
        $m->set("a", 1);
        foreach (pairs($m) as $k => $v) echo "$k $v";
    """
    assert output_of(script) == ["1 a"]


def test_there_is_no_constructor_of_iterators() -> None:
    script = "echo isset($x); $x = Iterator();"
    with pytest.raises(Exception, match="Iterator"):
        output_of(script)


def test_a_map_in_shared_memory() -> None:
    script = """
        memory_store("seen", Set("string"));
        barrier "seen" { memory_fetch("seen")->add("a"); }
        echo memory_fetch("seen")->has("a");
    """
    assert output_of(script) == ["true"]
