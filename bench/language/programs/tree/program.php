<?php

function build($leaves)
{
    $nodes = [];
    for ($i = 0; $i < $leaves; $i++) {
        $nodes[] = ["name" => "leaf$i", "size" => $i % 37, "tags" => ["a", "bc"], "ok" => $i % 2 == 0, "children" => []];
    }
    while (count($nodes) > 1) {
        $parents = [];
        $i = 0;
        while ($i < count($nodes)) {
            $children = [];
            $total = 0;
            for ($j = 0; $j < 4 && $i < count($nodes); $j++) {
                $children[] = $nodes[$i];
                $total += $nodes[$i]["size"];
                $i += 1;
            }
            $parents[] = ["name" => "node$i", "size" => $total, "tags" => [], "ok" => true, "children" => $children];
        }
        $nodes = $parents;
    }
    return $nodes[0];
}

function walk($tree)
{
    $stack = [$tree];
    $numbers = 0;
    $letters = 0;
    $yes = 0;
    while ($stack) {
        $value = array_pop($stack);
        if (is_array($value)) {
            foreach ($value as $item) {
                $stack[] = $item;
            }
        } elseif (is_string($value)) {
            $letters += strlen($value);
        } elseif (is_bool($value)) {
            $yes += $value ? 1 : 0;
        } else {
            $numbers += $value;
        }
    }
    return $numbers * 3 + $letters * 5 + $yes;
}

function main(int $size): string
{
    $total = 0;
    for ($n = 0; $n < $size; $n++) {
        $total += walk(build(64 + $n % 64));
    }
    return "total $total";
}
