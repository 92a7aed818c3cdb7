<?php

function make($n, $seed)
{
    $rows = [];
    for ($i = 0; $i < $n; $i++) {
        $rows[$i] = [];
        for ($j = 0; $j < $n; $j++) {
            $rows[$i][$j] = ($i * $seed + $j) % 10;
        }
    }
    return $rows;
}

function multiply($a, $b, $n)
{
    $rows = [];
    for ($i = 0; $i < $n; $i++) {
        $row = [];
        for ($j = 0; $j < $n; $j++) {
            $sum = 0;
            for ($k = 0; $k < $n; $k++) {
                $sum += $a[$i][$k] * $b[$k][$j];
            }
            $row[] = $sum;
        }
        $rows[] = $row;
    }
    return $rows;
}

function main(int $size): string
{
    $product = multiply(make($size, 3), make($size, 7), $size);
    $checksum = 0;
    foreach ($product as $row) {
        foreach ($row as $j => $value) {
            $checksum = ($checksum + $value * ($j + 1)) % 1000003;
        }
    }
    return "checksum $checksum";
}
