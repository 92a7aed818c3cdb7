<?php

function main(int $size): string
{
    $seed = 42;
    $total = 0;
    $longest = 0;
    for ($i = 0; $i < $size; $i++) {
        $seed = ($seed * 1103 + 12345) % 65536;
        $n = $seed + 1;
        $steps = 0;
        while ($n != 1) {
            if ($n % 2 == 0) {
                $n = $n / 2;
            } else {
                $n = 3 * $n + 1;
            }
            $steps += 1;
        }
        $total += $steps;
        if ($steps > $longest) {
            $longest = $steps;
        }
    }
    return "total $total longest $longest";
}
