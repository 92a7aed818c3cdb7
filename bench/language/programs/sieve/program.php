<?php

function main(int $size): string
{
    $flags = [];
    for ($i = 0; $i <= $size; $i++) {
        $flags[] = true;
    }
    $primes = 0;
    $sum = 0;
    for ($i = 2; $i <= $size; $i++) {
        if (!$flags[$i]) {
            continue;
        }
        $primes += 1;
        $sum = ($sum + $i) % 1000003;
        for ($j = $i * $i; $j <= $size; $j += $i) {
            $flags[$j] = false;
        }
    }
    return "primes $primes sum $sum";
}
