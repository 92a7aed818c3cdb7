<?php

class Bucket
{
    private $level = 0;
    private $refused = 0;
    public $limit;

    public function __construct($limit)
    {
        $this->limit = $limit;
    }

    public function room()
    {
        return $this->limit - $this->level;
    }

    public function take($n)
    {
        if ($n > $this->room()) {
            $this->refused += 1;
            return false;
        }
        $this->level += $n;
        return true;
    }

    public function leak($n)
    {
        $this->level -= $n;
        if ($this->level < 0) {
            $this->level = 0;
        }
    }

    public function refusals()
    {
        return $this->refused;
    }
}

function main(int $size): string
{
    $taken = 0;
    $refused = 0;
    for ($i = 0; $i < $size; $i++) {
        $bucket = new Bucket(10 + $i % 5);
        for ($j = 0; $j < 20; $j++) {
            if ($bucket->take($j % 4)) {
                $taken += 1;
            }
            $bucket->leak(1);
        }
        $refused += $bucket->refusals();
    }
    return "taken $taken refused $refused";
}
