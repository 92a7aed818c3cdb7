<?php
// Runs PROGRAM.php's main(SIZE): its result goes to the standard output, the seconds it took to standard error.

[, $path, $size] = $argv;
require $path;
$size = (int) $size;
$start = hrtime(true);
$result = main($size);
$seconds = (hrtime(true) - $start) / 1e9;
echo $result, "\n";
fprintf(STDERR, "%.6f\n", $seconds);
