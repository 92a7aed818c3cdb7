from functools import reduce


def main(size):
    numbers = []
    for i in range(120):
        numbers.append(i * 7 % 101)
    checksum = 0
    for round_ in range(size):
        mapped = list(map(lambda x: x * 3 + 1, numbers))  # noqa: C417 (callbacks are what is measured)
        even = list(filter(lambda x: x % 2 == 0, mapped))
        total = reduce(lambda sum_, x: sum_ + x, even, round_)
        for i, x in enumerate(even[5:-5][::-2]):
            checksum += x * i
        for x in mapped[-10:]:
            checksum += x
        checksum = (checksum + total) % 1000003
    return f"checksum {checksum}"
