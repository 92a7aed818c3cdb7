<?php

function counter($step)
{
    $count = 0;
    return function () use (&$count, &$step) {
        $count += $step;
        return $count;
    };
}

function main(int $size): string
{
    $total = 0;
    $add = function ($x) use (&$total) {
        $total = ($total + $x) % 1000003;
    };
    for ($i = 0; $i < $size; $i++) {
        $tick = counter($i % 7);
        for ($j = 0; $j < 8; $j++) {
            $add($tick());
        }
    }
    return "total $total";
}
