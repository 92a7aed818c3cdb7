<?php

function square($x)
{
    return $x * $x;
}

function clamp($x, $low, $high = 200)
{
    if ($x < $low) {
        return $low;
    }
    if ($x > $high) {
        return $high;
    }
    return $x;
}

function mix($a, $b)
{
    return (square($a) + clamp($b, 3)) % 1009;
}

function main(int $size): string
{
    $x = 7;
    $total = 0;
    for ($i = 0; $i < $size; $i++) {
        $x = mix($x, $i % 256);
        $total += $x;
    }
    return "x $x total $total";
}
