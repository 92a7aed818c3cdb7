<?php

function main(int $size): string
{
    $checksum = 0;
    for ($round = 0; $round < $size; $round++) {
        $numbers = [];
        $pairs = [];
        $squares = [];
        for ($i = 0; $i < 200; $i++) {
            $numbers[] = ($i * 7 + $round) % 101;
            $pairs[] = [$i, $numbers[$i]];
            $squares[$i] = $i * $i;
        }
        $left = 0;
        $right = count($numbers) - 1;
        while ($left < $right) {
            $other = $numbers[$left];
            $numbers[$left] = $numbers[$right];
            $numbers[$right] = $other;
            $left += 1;
            $right -= 1;
        }
        foreach ($pairs as $i => $pair) {
            $checksum += $pair[0] + $pair[1] * $numbers[$i] + $squares[$i];
        }
        $checksum = $checksum % 1000003;
    }
    return "checksum $checksum";
}
