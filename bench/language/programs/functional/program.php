<?php

/** Every second item from the end on: PHP has no slices with steps. */
function every_second_backwards($array)
{
    $result = [];
    for ($i = count($array) - 1; $i >= 0; $i -= 2) {
        $result[] = $array[$i];
    }
    return $result;
}

function main(int $size): string
{
    $numbers = [];
    for ($i = 0; $i < 120; $i++) {
        $numbers[] = $i * 7 % 101;
    }
    $checksum = 0;
    for ($round = 0; $round < $size; $round++) {
        $mapped = array_map(function ($x) { return $x * 3 + 1; }, $numbers);
        $even = array_filter($mapped, function ($x) { return $x % 2 == 0; });
        $total = array_reduce($even, function ($sum, $x) { return $sum + $x; }, $round);
        foreach (every_second_backwards(array_slice($even, 5, -5)) as $i => $x) {
            $checksum += $x * $i;
        }
        foreach (array_slice($mapped, -10) as $x) {
            $checksum += $x;
        }
        $checksum = ($checksum + $total) % 1000003;
    }
    return "checksum $checksum";
}
